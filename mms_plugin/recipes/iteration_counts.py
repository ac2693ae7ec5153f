"""Change the length of a training that counts iterations instead of epochs."""

from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Mapping

from ..utils.config_types import kind_of
from ..utils.validation import is_integer
from .config_edits import Report, short

__all__ = ["ENDLESS", "scale_iterations", "scheduler_list"]

# Arguments of MMEngine's parameter schedulers that count iterations.
_COUNTS = ("begin", "end", "T_max", "step_size", "total_iters", "total_steps")
ENDLESS = 10**8
"""A scheduler whose end is at least this large does not end."""


def scheduler_list(config: Mapping) -> List[Any]:
    """Return ``param_scheduler`` as a list, which is empty if there is none."""
    schedulers = config.get("param_scheduler") or []
    return [schedulers] if isinstance(schedulers, Mapping) else list(schedulers)


def scale_iterations(config: Any, factor: float, report: Report) -> None:
    """Scale the length of a training that counts iterations.

    ``max_iters``, the intervals of validation and checkpoints, the beginning of
    checkpoints and of an ``EMAHook``, and the parameter schedulers that count
    iterations are multiplied by the same factor. An interval that divides the number of
    iterations is rounded up, so that it ends with the training as before. An
    exponential scheduler reaches the same value in the new number of iterations.

    Args:
        config: Config of a training that counts iterations. It is changed in place.
        factor: New number of iterations divided by the old one.
        report: Called with a line for each change.
    """

    def scaled(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        if value <= 0 or value >= ENDLESS:  # -1: never
            return value
        return max(1, round(value * factor))

    most = config["train_cfg"].get("max_iters")

    def scaled_interval(value: Any) -> Any:
        if not is_integer(value) or not is_integer(most) or value <= 0 or most <= 0:
            return scaled(value)
        number, remainder = divmod(most, value)
        # Rounded down, the last interval would end just before the training does.
        return scaled(value) if remainder else -(-scaled(most) // number)

    def change(
        place: str, owner: Any, key: str, scale: Callable[[Any], Any] = scaled
    ) -> None:
        old = owner[key]
        if isinstance(old, (list, tuple)):
            new = [
                (scaled(value[0]), scaled_interval(value[1]))
                if isinstance(value, (list, tuple))
                else scale(value)
                for value in old
            ]
        else:
            new = scale(old) if old else old
        put(place, owner, key, new)

    def put(place: str, owner: Any, key: str, new: Any) -> None:
        old = owner[key]
        if new != old:
            owner[key] = new
            report(f"{place}.{key}: {short(old)} -> {short(new)}")

    loop = copy.copy(config["train_cfg"])
    for key in ("max_iters", "val_begin", "dynamic_intervals"):
        if loop.get(key):
            change("train_cfg", loop, key)
    if loop.get("val_interval"):
        change("train_cfg", loop, "val_interval", scaled_interval)
    config["train_cfg"] = loop
    schedulers = [copy.copy(scheduler) for scheduler in scheduler_list(config)]
    for index, scheduler in enumerate(schedulers):
        if scheduler.get("by_epoch", True):
            continue
        place = f"param_scheduler[{index}]"
        for key in (*_COUNTS, "milestones", "periods"):
            if scheduler.get(key):
                change(place, scheduler, key)
        if kind_of(scheduler).name.startswith("Exponential"):
            put(place, scheduler, "gamma", scheduler["gamma"] ** (1 / factor))
    if schedulers:
        config["param_scheduler"] = schedulers
    hooks: Dict[str, Any] = config.get("default_hooks") or {}
    checkpoint = hooks.get("checkpoint")
    if isinstance(checkpoint, Mapping) and checkpoint.get("by_epoch", True) is False:
        changed: Any = copy.copy(checkpoint)
        if changed.get("interval"):
            change("default_hooks.checkpoint", changed, "interval", scaled_interval)
        if changed.get("save_begin"):
            change("default_hooks.checkpoint", changed, "save_begin")
        config["default_hooks"] = copy.copy(hooks)
        config["default_hooks"]["checkpoint"] = changed
    custom: List[Any] = list(config.get("custom_hooks") or ())
    for index, hook in enumerate(custom):
        if isinstance(hook, Mapping) and hook.get("begin_iter"):
            custom[index] = copy.copy(hook)
            change(f"custom_hooks[{index}]", custom[index], "begin_iter")
            config["custom_hooks"] = custom
