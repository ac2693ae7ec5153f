"""Tell the warm-up from the other parameter schedulers of a config."""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple

from ..utils.config_types import counts_iterations, kind_of
from ..utils.validation import is_integer, is_number
from .config_edits import RecipeError, Report, short
from .iteration_counts import ENDLESS, scheduler_list

__all__ = ["Warmup", "find_warmup", "warn_of_iteration_schedules"]

# Arguments that place a scheduler within the training.
_PLACES = ("milestones", "T_max", "periods", "total_iters", "total_steps", "end")


class Warmup(NamedTuple):
    """The schedulers that raise the learning rate at the start of a training.

    Attributes:
        schedulers: Their indices in ``param_scheduler``.
        epochs: Epoch at which the last of those ends that count epochs; 0: none.
        iterations: Iteration at which the last of those ends that count iterations;
            0: none.
    """

    schedulers: List[int]
    epochs: int
    iterations: int


def find_warmup(config: Mapping) -> Warmup:
    """Return the warm-up of a config."""
    found: List[int] = []
    ends = {True: 0, False: 0}
    for index, scheduler in enumerate(scheduler_list(config)):
        if not isinstance(scheduler, Mapping) or scheduler.get("begin"):
            continue
        place = f"param_scheduler[{index}]"
        for name in ("start_factor", "end_factor", "factor", "gamma"):
            if name in scheduler and not is_number(scheduler[name]):
                raise RecipeError(
                    f"{place}.{name}", f"must be a number, but is {scheduler[name]!r}"
                )
        rises = {
            "LinearLR": scheduler.get("start_factor", 1 / 3)
            < scheduler.get("end_factor", 1.0),
            "ConstantLR": scheduler.get("factor", 1 / 3) < 1,
            "ExponentialLR": scheduler.get("gamma", 0) > 1,
            "QuadraticWarmupLR": True,
        }
        if not rises.get(kind_of(scheduler).name, False):
            continue
        found.append(index)
        end: Any = scheduler.get("end")
        if is_integer(end) and end < ENDLESS:
            by_epoch = bool(scheduler.get("by_epoch", True))
            ends[by_epoch] = max(ends[by_epoch], end)
    return Warmup(found, ends[True], ends[False])


def warn_of_iteration_schedules(
    config: Mapping, warmup: Warmup, report: Report
) -> None:
    """Report schedulers that count iterations while the training counts epochs.

    With another number of iterations in an epoch they change the learning rate at
    another point of the training. The warm-up is meant to last a number of iterations.

    Args:
        config: The whole config.
        warmup: Its warm-up, of which nothing is reported.
        report: Called with a line for each of the other schedulers.
    """
    if counts_iterations(config):
        return
    for index, scheduler in enumerate(scheduler_list(config)):
        if index in warmup.schedulers or not isinstance(scheduler, Mapping):
            continue
        if scheduler.get("by_epoch", True):
            continue
        places = [
            f"{name}={short(scheduler[name])}"
            for name in _PLACES
            if scheduler.get(name) and not _is_endless(scheduler[name])
        ]
        if places:
            report(
                f"warning: param_scheduler[{index}] counts iterations "
                f"({', '.join(places)}), and the number of iterations in an epoch "
                "changes; let it count epochs, with convert_to_iter_based=True"
            )


def _is_endless(value: Any) -> bool:
    return is_integer(value) and value >= ENDLESS
