"""Find the warm-up among the parameter schedulers of a config."""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple

from ..utils.validation import is_integer
from .config_edits import kind_of
from .iteration_counts import ENDLESS, scheduler_list

__all__ = ["Warmup", "find_warmup"]


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
