"""Check that all ranks of a training have the same sizes and batches planned."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence

from mmengine.dist import all_gather_object

from .multi_scale_variable_batch_sampler import MultiScaleVariableBatchSampler

__all__ = ["check_ranks_agree"]

# Differs between the ranks where a sampler knows its own share only; the plan tells.
_MAY_DIFFER = "num_samples"
_PLAN = "plan"


def check_ranks_agree(sampler: MultiScaleVariableBatchSampler) -> None:
    """Refuse ranks that would train on batches of different sizes.

    Such ranks would wait for each other without end. All must call this together.

    Args:
        sampler: Of this rank, at the place where the training begins.

    Raises:
        ValueError: On every rank; names what differs.
    """
    of_ranks = all_gather_object(sampler.common_to_ranks())
    differing = [
        (rank, names)
        for rank, found in enumerate(of_ranks)
        for names in [_differing(of_ranks[0], found)]
        if set(names) - {_MAY_DIFFER}
    ]
    if differing:
        rank, names = differing[0]
        raise ValueError(
            "all ranks must have the same data and settings, but got "
            f"{_text(of_ranks, rank, names)}: the ranks would train on batches of "
            "different sizes"
        )


def _differing(first: Mapping[str, Any], other: Mapping[str, Any]) -> List[str]:
    names = dict.fromkeys([*first, *other])
    return [name for name in names if first.get(name) != other.get(name)]


def _text(of_ranks: Sequence[Dict[str, Any]], rank: int, names: Sequence[str]) -> str:
    # A plan follows from the rest, except from a callable schedule.
    named = [name for name in names if name != _PLAN] or [_PLAN]
    return " and ".join(
        f"{name}={of_ranks[0].get(name)!r} on rank 0, {of_ranks[rank].get(name)!r} on "
        f"rank {rank}"
        for name in named
    )
