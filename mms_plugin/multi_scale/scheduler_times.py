"""Correct the times of parameter schedulers for epochs of unequal length.

MMEngine converts a scheduler from epochs to iterations by multiplying with one length
for all epochs. While sizes grow, epochs are not equally long. These functions compute
the iterations from the length of each epoch.

They are pure, except :func:`retime_schedulers`, which changes the schedulers that
MMEngine has built.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import torch
from mmengine.optim import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

# State of a scheduler that is not a time: its progress, its initial values, and what it
# changes in its optimizer (Adam's betas in place of a momentum).
_NOT_TIMES = (
    *("base_values", "last_step", "_global_step", "_last_value", "verbose"),
    *("param_name", "use_betas"),
)

# The default end of MMEngine's schedulers.
_INF = int(1e9)

EpochMap = Callable[[float], int]
"""Returns the iterations before an epoch; within an epoch, in proportion."""


def epoch_map(iterations_before: Callable[[int], int]) -> EpochMap:
    """Return a function that also gives the iterations before fractions of an epoch.

    Args:
        iterations_before: Returns the iterations before a whole epoch.
    """

    def before(epoch: float) -> int:
        whole = int(epoch)
        first = iterations_before(whole)
        if epoch == whole:
            return first
        return first + int((epoch - whole) * (iterations_before(whole + 1) - first))

    return before


def convert_to_iterations(
    config: Mapping, before: EpochMap, max_epochs: int
) -> Dict[str, Any]:
    """Convert the config of a scheduler from epochs to iterations.

    Args:
        config: Config of a scheduler with ``convert_to_iter_based=True``.
        before: Returns the iterations before an epoch.
        max_epochs: Epochs of the training, the default of ``end``.

    Returns:
        The config with every time in iterations and ``by_epoch=False``.
    """
    times: Dict[str, Any] = copy.deepcopy(dict(config))
    times.pop("convert_to_iter_based", None)
    times["by_epoch"] = False
    begin, end = times.get("begin", 0), times.get("end", max_epochs)
    first = before(begin)
    times["begin"] = first
    times["end"] = before(end) if end < _INF else end

    def iterations_of(epochs: float) -> int:
        return before(begin + epochs) - first

    for key in ("T_max", "total_steps"):
        if times.get(key) is not None:
            times[key] = iterations_of(times[key])
    if "milestones" in times:
        times["milestones"] = [iterations_of(m) for m in times["milestones"]]
    if "periods" in times:
        ends = [iterations_of(e) for e in itertools.accumulate(times["periods"])]
        times["periods"] = [b - a for a, b in zip([0, *ends], ends)]
    if "step_size" in times:
        # It has one length for all steps: use the mean from begin to end.
        epochs = max(min(end, max_epochs) - begin, 1)
        mean = iterations_of(epochs) / epochs
        times["step_size"] = max(1, round(times["step_size"] * mean))
    return times


def retime_schedulers(
    schedulers: Sequence[_ParamScheduler],
    configs: Optional[Sequence[Mapping]],
    before: EpochMap,
    max_epochs: int,
    assumed_length: int,
) -> None:
    """Correct the times of built schedulers before the first iteration.

    Schedulers by epoch stay as they are. Schedulers that were converted to iterations
    get the times of the real epochs. Schedulers by iteration that have no ``end`` get
    that of the training.

    Args:
        schedulers: Schedulers that MMEngine built for epochs of ``assumed_length``
            iterations.
        configs: The configs they were built from, in the same order. ``None``: not
            known, as with a ``Runner`` made without ``cfg``; then a scheduler counts
            as converted if it ends with the training.
        before: Returns the iterations before an epoch.
        max_epochs: Epochs of the training.
        assumed_length: Iterations of each epoch, as MMEngine assumed.
    """
    assumed_total = max_epochs * assumed_length
    if configs is not None:
        for scheduler, config in zip(schedulers, configs):
            if config.get("convert_to_iter_based"):
                converted = convert_to_iterations(config, before, max_epochs)
                _set_times(scheduler, converted)
            elif not scheduler.by_epoch and "end" not in config:
                _set_times(scheduler, {**config, "end": before(max_epochs)})
        return
    times = _TimeMap(before, assumed_length)
    # A scheduler that ends with the training was converted, and so was one that ends
    # where a converted one begins.
    known = {assumed_total}
    by_iteration = [s for s in schedulers if not s.by_epoch]
    found: List[_ParamScheduler] = []
    while True:
        more = [s for s in by_iteration if s not in found and s.end in known]
        if not more:
            break
        found += more
        known |= {s.begin for s in more if s.begin > 0 and times.is_whole(s.begin)}
    for scheduler in found:
        times.apply(scheduler)


def last_iteration(scheduler: _ParamScheduler) -> int:
    """Return the last iteration at which a scheduler is set to change its value.

    0 if it counts epochs, or has no end.
    """
    if scheduler.by_epoch:
        return 0
    lengths = [getattr(scheduler, key, None) or 0 for key in ("T_max", "total_iters")]
    lengths += list(getattr(scheduler, "milestones", None) or ())
    places = [scheduler.begin + length for length in lengths] + [scheduler.end]
    return max((place for place in places if place < _INF), default=0)


def times_of(scheduler: _ParamScheduler) -> Dict[str, Any]:
    """Return the times in a scheduler's state, without progress and initial values."""
    state = scheduler.state_dict()
    return {key: value for key, value in state.items() if key not in _NOT_TIMES}


class _TimeMap:
    """Map iterations that were counted in equally long epochs to the real ones."""

    def __init__(self, before: EpochMap, assumed_length: int) -> None:
        self.before = before
        self.assumed_length = assumed_length

    def __call__(self, iteration: int) -> int:
        return self.before(iteration / self.assumed_length)

    def is_whole(self, iteration: int) -> bool:
        return iteration % self.assumed_length == 0

    def apply(self, scheduler: _ParamScheduler) -> None:
        begin, end = scheduler.begin, scheduler.end
        # A begin within an epoch was set in iterations: it stays.
        first = self(begin) if self.is_whole(begin) else begin
        last = self(end)
        for key in ("T_max", "total_iters", "total_steps"):
            value = getattr(scheduler, key, None)
            if value is None:
                continue
            # Some schedulers count the iterations, others the steps between them.
            less = 1 if value == end - begin - 1 else 0
            setattr(scheduler, key, self(begin + value + less) - first - less)
        milestones = getattr(scheduler, "milestones", None)
        if milestones is not None:
            scheduler.milestones = type(milestones)(
                self(begin + m) - first for m in milestones.elements()
            )
        scheduler.begin, scheduler.end = first, last
        other = {"step_size", "cumulative_periods", "_schedule_phases"}
        unknown = sorted(other & set(vars(scheduler)))
        if unknown:
            warnings.warn(
                f"{type(scheduler).__name__} was converted to iterations for epochs of "
                f"equal length, and correcting its {unknown} needs its config: build "
                "the runner with Runner.from_cfg",
                stacklevel=2,
            )


def _set_times(scheduler: _ParamScheduler, config: Mapping) -> None:
    """Set the times of a scheduler to those of one that is built from ``config``."""
    config = dict(config)
    config.pop("convert_to_iter_based", None)
    # Built on another optimizer, since this changes the optimizer's learning rates.
    groups = scheduler.optimizer.param_groups
    other_optimizer = torch.optim.SGD(
        [
            {
                "params": [torch.nn.Parameter(torch.zeros(1))],
                **{k: v for k, v in group.items() if k != "params"},
            }
            for group in groups
        ],
        lr=1.0,
    )
    built = PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=other_optimizer))
    for key, value in times_of(built).items():
        setattr(scheduler, key, value)
