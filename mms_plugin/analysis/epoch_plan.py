"""The plan of an epoch at a fixed size."""

from __future__ import annotations

from typing import List, Tuple

__all__ = ["EpochPlan", "fixed_size_plan"]

#: ``(height, width, batch_size)`` of every iteration of an epoch.
EpochPlan = List[Tuple[int, int, int]]


def fixed_size_plan(
    num_samples: int, batch_size: int, size: Tuple[int, int], drop_last: bool = False
) -> EpochPlan:
    """Return an epoch of SSc-FBS: one size, one batch size, the last batch smaller.

    Args:
        num_samples: Samples of the epoch on one rank.
        batch_size: Images per rank.
        size: ``(height, width)`` in pixels.
        drop_last: Leave out a last batch that is not full. Defaults to False.
    """
    full, rest = divmod(num_samples, batch_size)
    plan = [(*size, batch_size)] * full
    return plan if drop_last or not rest else [*plan, (*size, rest)]
