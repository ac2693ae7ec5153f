"""The learning-rate schedule of the large-batch recipe."""

from __future__ import annotations

import copy
from typing import Any, Dict, Mapping

from ..utils.config_types import kind_of
from ..utils.validation import is_integer, is_number
from .config_edits import Report
from .iteration_counts import scheduler_list
from .large_batch_numbers import BatchShares, LargeBatchTimes
from .warmup import Warmup

__all__ = ["is_converted_warmup", "scale_rates", "set_warmup"]

_WARMUP_FACTOR = 0.001
_FOR_EVER = 10**9

# Learning rates in the config of a scheduler.
_RATES = ("eta_min", "eta_max")


def _warmup_from() -> Dict[str, Any]:
    """Return the scheduler that the recipe's warm-up starts from."""
    return dict(
        type="ConstantLR",
        factor=_WARMUP_FACTOR,
        by_epoch=False,
        begin=0,
        end=_FOR_EVER,
    )


def is_converted_warmup(scheduler: Any) -> bool:
    """Return whether a scheduler's config is the beginning of the recipe's warm-up."""
    return isinstance(scheduler, Mapping) and dict(scheduler) == _warmup_from()


def scale_rates(config: Any, factor: float, report: Report) -> None:
    """Multiply the learning rates that schedulers name, such as ``eta_min``.

    Args:
        config: It is changed in place.
        factor: New learning rate divided by the old one.
        report: Called with a line for each change.
    """
    schedulers = [copy.copy(scheduler) for scheduler in scheduler_list(config)]
    for index, scheduler in enumerate(schedulers):
        if not kind_of(scheduler).name.endswith("LR"):  # a momentum's
            continue
        for key in _RATES:
            old = scheduler.get(key)
            if is_number(old) and old > 0 and factor != 1:
                scheduler[key] = float(f"{old * factor:.6g}")
                report(
                    f"param_scheduler[{index}].{key}: {old:.6g} -> {scheduler[key]:.6g}"
                )
    if schedulers:
        config["param_scheduler"] = schedulers


def set_warmup(
    config: Any,
    shares: BatchShares,
    times: LargeBatchTimes,
    warmup: Warmup,
    report: Report,
) -> None:
    """Replace a config's warm-up by an exponential one.

    Args:
        config: It is changed in place.
        shares: Images and accumulated iterations of an update.
        times: Those of the recipe.
        warmup: The config's own.
        report: Called with a line for each change.
    """
    schedulers = scheduler_list(config)
    names = [kind_of(schedulers[index]).name for index in warmup.schedulers]
    iterations = times.warmup * shares.accumulation
    length = f"{times.warmup} update" + ("s" if times.warmup > 1 else "")
    if shares.accumulation > 1:
        length += f" ({iterations} iterations)"
    report(
        f"param_scheduler: warm-up by {' and '.join(names) or 'none'} -> exponential "
        f"warm-up from {_WARMUP_FACTOR} over {length}"
    )
    config["param_scheduler"] = [
        _warmup_from(),
        dict(
            type="ExponentialLR",
            gamma=(1 / _WARMUP_FACTOR) ** (1 / iterations),
            by_epoch=False,
            begin=0,
            end=iterations + 1,
        ),
        *(
            _begun_later(scheduler, index, iterations, report)
            for index, scheduler in enumerate(schedulers)
            if index not in warmup.schedulers
        ),
    ]


def _begun_later(scheduler: Any, index: int, end: int, report: Report) -> Any:
    """Return a scheduler that begins at the end of the warm-up, if it has to.

    MMEngine's schedulers multiply what is above ``eta_min``. During a warm-up from far
    below it they would raise the rate, and the warm-up would multiply that.
    """
    place = f"param_scheduler[{index}]"
    lowest = scheduler.get("eta_min") or scheduler.get("eta_min_ratio")
    if not is_number(lowest) or lowest <= 0 or (scheduler.get("begin") or 0) >= end:
        return scheduler
    name, begin = kind_of(scheduler).name, scheduler.get("begin") or 0
    if scheduler.get("by_epoch", True):
        if begin == 0:
            report(
                f"note: {place}, {name} with eta_min, begins with the warm-up, and may "
                "raise the rate after it; let it begin after the warm-up"
            )
        return scheduler
    later = copy.copy(scheduler)
    later["begin"] = end
    report(f"{place}.begin: {begin} -> {end}, the end of the warm-up")
    for key in ("T_max", "total_steps"):
        if is_integer(scheduler.get(key)) and scheduler[key] > end - begin:
            later[key] = scheduler[key] - (end - begin)
            report(f"{place}.{key}: {scheduler[key]} -> {later[key]}")
    return later
