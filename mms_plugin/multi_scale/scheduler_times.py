"""Parameter schedules over epochs of unequal length.

MMEngine converts a schedule by epoch to one by iteration by multiplying with one
length for all epochs. Where the resolutions grow, epochs are not equally long: these
functions put each of the schedule's epochs where it is.

All is pure but :func:`retime_schedulers`, which works on the schedulers that MMEngine
has built.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import torch
from mmengine.optim import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS

# What a scheduler holds beside its times: its place and the values it started from.
_NOT_TIMES = ("base_values", "last_step", "_global_step", "_last_value", "verbose")

# "No end" in MMEngine's schedulers.
_INF = int(1e9)

EpochMap = Callable[[float], int]
"""Iterations before an epoch; between two epochs, in proportion."""


def epoch_map(iterations_before: Callable[[int], int]) -> EpochMap:
    """Extend the iterations before each whole epoch to fractions of an epoch."""

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
    """A schedule's config by epoch, as one by iteration.

    Args:
        config: Of a scheduler with ``convert_to_iter_based=True``.
        before: Iterations before an epoch.
        max_epochs: Where the schedule ends if it does not say so itself.

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

    def stretch(epochs: float) -> int:
        return before(begin + epochs) - first

    for key in ("T_max", "total_steps"):
        if times.get(key) is not None:
            times[key] = stretch(times[key])
    if "milestones" in times:
        times["milestones"] = [stretch(m) for m in times["milestones"]]
    if "periods" in times:
        ends = [stretch(e) for e in itertools.accumulate(times["periods"])]
        times["periods"] = [b - a for a, b in zip([0, *ends], ends)]
    if "step_size" in times:
        # It takes one length for all steps: the mean over the stretch.
        epochs = max(min(end, max_epochs) - begin, 1)
        mean = stretch(epochs) / epochs
        times["step_size"] = max(1, round(times["step_size"] * mean))
    return times


def retime_schedulers(
    schedulers: Sequence[_ParamScheduler],
    configs: Optional[Sequence[Mapping]],
    before: EpochMap,
    max_epochs: int,
    assumed_length: int,
) -> None:
    """Set the times of built schedulers right, before the first iteration.

    Schedules by epoch stay as they are. Schedules converted to iterations are timed
    anew; schedules by iteration that end with the training end with it.

    Args:
        schedulers: As MMEngine built them, with ``assumed_length`` iterations in
            every epoch.
        configs: The configs they were built from, in the same order. ``None``: not
            known, as with a ``Runner`` made without ``cfg``; then what was converted
            is told by its end, which is that of the training.
        before: Iterations before an epoch.
        max_epochs: Epochs of the training.
        assumed_length: Iterations that MMEngine took each epoch to have.
    """
    assumed_total = max_epochs * assumed_length
    if configs is not None:
        for scheduler, config in zip(schedulers, configs):
            if config.get("convert_to_iter_based"):
                right = convert_to_iterations(config, before, max_epochs)
                _take_times(scheduler, right)
            elif not scheduler.by_epoch and "end" not in config:
                _take_times(scheduler, {**config, "end": before(max_epochs)})
        return
    times = _TimeMap(before, assumed_length)
    # A stretch of the training that ends with it was given by epoch; so were those that
    # end where it begins, and so on.
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


def times_of(scheduler: _ParamScheduler) -> Dict[str, Any]:
    """When a scheduler does what, without its place and the values it started from."""
    state = scheduler.state_dict()
    return {key: value for key, value in state.items() if key not in _NOT_TIMES}


class _TimeMap:
    """Moves times in iterations of equally long epochs to where those epochs are."""

    def __init__(self, before: EpochMap, assumed_length: int) -> None:
        self.before = before
        self.assumed_length = assumed_length

    def __call__(self, iteration: int) -> int:
        return self.before(iteration / self.assumed_length)

    def is_whole(self, iteration: int) -> bool:
        return iteration % self.assumed_length == 0

    def apply(self, scheduler: _ParamScheduler) -> None:
        begin, end = scheduler.begin, scheduler.end
        # A beginning between two epochs was given by iteration: it stays.
        first = self(begin) if self.is_whole(begin) else begin
        last = self(end)
        for key in ("T_max", "total_iters", "total_steps"):
            value = getattr(scheduler, key, None)
            if value is None:
                continue
            # Some count the iterations, some the steps between them.
            less = 1 if value == end - begin - 1 else 0
            setattr(scheduler, key, self(begin + value + less) - first - less)
        milestones = getattr(scheduler, "milestones", None)
        if milestones is not None:
            scheduler.milestones = type(milestones)(
                self(begin + m) - first for m in milestones.elements()
            )
        scheduler.begin, scheduler.end = first, last
        known = {"T_max", "total_iters", "total_steps", "milestones"}
        other = {"step_size", "cumulative_periods", "_schedule_phases"}
        unknown = sorted(other & set(vars(scheduler)) - known)
        if unknown:
            warnings.warn(
                f"{type(scheduler).__name__} was converted to iterations for epochs of "
                f"equal length, and correcting its {unknown} needs its config: build "
                "the runner with Runner.from_cfg",
                stacklevel=2,
            )


def _take_times(scheduler: _ParamScheduler, config: Mapping) -> None:
    """Give ``scheduler`` the times that a scheduler built from ``config`` has."""
    config = dict(config)
    config.pop("convert_to_iter_based", None)
    # Built on a stand-in: building a scheduler changes its optimizer's rates.
    groups = scheduler.optimizer.param_groups
    stand_in = torch.optim.SGD(
        [
            {
                "params": [torch.nn.Parameter(torch.zeros(1))],
                **{k: v for k, v in group.items() if k != "params"},
            }
            for group in groups
        ],
        lr=1.0,
    )
    right = PARAM_SCHEDULERS.build(config, default_args=dict(optimizer=stand_in))
    for key, value in times_of(right).items():
        setattr(scheduler, key, value)
