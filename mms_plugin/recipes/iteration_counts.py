"""Change the length of a training that counts iterations instead of epochs."""

from __future__ import annotations

from typing import Any, List, Mapping, Tuple

from ..utils.config_types import kind_of
from ..utils.validation import is_integer
from .config_edits import Report, assign, short

__all__ = [
    "ENDLESS",
    "checkpoint_by_iteration",
    "scale_iterations",
    "scheduler_list",
]

# Arguments of MMEngine's parameter schedulers that count iterations.
_COUNTS = ("begin", "end", "T_max", "step_size", "total_iters", "total_steps")
ENDLESS = 10**8
"""A scheduler whose end is at least this large does not end."""


def scheduler_list(config: Mapping) -> List[Any]:
    """Return ``param_scheduler`` as a list, which is empty if there is none."""
    schedulers = config.get("param_scheduler") or []
    return [schedulers] if isinstance(schedulers, Mapping) else list(schedulers)


def placed_schedulers(config: Mapping) -> List[Tuple[str, Any]]:
    """Return the parameter schedulers, of each optimizer, with their paths."""
    found: List[Tuple[str, Any]] = []

    def add(place: str, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            found.extend((f"{place}[{i}]", item) for i, item in enumerate(value))
        elif isinstance(value, Mapping) and "type" not in value:
            for name, item in value.items():
                add(f"{place}.{name}", item)
        elif value is not None:
            found.append((place, value))

    add("param_scheduler", config.get("param_scheduler"))
    return found


def checkpoint_by_iteration(config: Mapping) -> Mapping:
    """Return ``default_hooks.checkpoint`` if it counts iterations.

    An empty mapping stands for a hook that counts epochs, that is built already, or
    that is missing.
    """
    checkpoint = (config.get("default_hooks") or {}).get("checkpoint")
    if not isinstance(checkpoint, Mapping) or checkpoint.get("by_epoch", True):
        return {}
    return checkpoint


def scale_iterations(config: Any, factor: float, report: Report) -> None:
    """Scale the length of a training that counts iterations.

    ``max_iters``, the beginning and the intervals of validation and checkpoints, the
    ``begin_iter`` of custom hooks such as ``EMAHook``, and the parameter schedulers
    that count iterations are multiplied by the same factor. An interval that divides
    the number of iterations is rounded up, so that the training has as many of them as
    before. An exponential scheduler reaches the same value in the new number of
    iterations.

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

    def scaled_values(values: Any) -> Any:
        if not isinstance(values, (list, tuple)):
            return scaled(values)
        return type(values)(
            # Of dynamic_intervals: the iteration it begins at, and the interval.
            type(value)((scaled(value[0]), scaled_interval(value[1])))
            if isinstance(value, (list, tuple))
            else scaled(value)
            for value in values
        )

    def put(place: str, old: Any, new: Any) -> None:
        if new != old:
            assign(config, place, new)
            report(f"{place}: {short(old)} -> {short(new)}")

    loop = config["train_cfg"]
    for key in ("max_iters", "val_begin", "dynamic_intervals"):
        put(f"train_cfg.{key}", loop.get(key), scaled_values(loop.get(key)))
    interval = loop.get("val_interval")
    put("train_cfg.val_interval", interval, scaled_interval(interval))
    for place, scheduler in placed_schedulers(config):
        if scheduler.get("by_epoch", True):
            continue
        for key in (*_COUNTS, "milestones", "periods"):
            put(f"{place}.{key}", scheduler.get(key), scaled_values(scheduler.get(key)))
        if kind_of(scheduler).name.startswith("Exponential"):
            gamma = scheduler["gamma"]
            put(f"{place}.gamma", gamma, gamma ** (1 / factor))
    checkpoint = checkpoint_by_iteration(config)
    for key, scale in (("interval", scaled_interval), ("save_begin", scaled)):
        old = checkpoint.get(key)
        put(f"default_hooks.checkpoint.{key}", old, scale(old))
    for index, hook in enumerate(config.get("custom_hooks") or ()):
        if isinstance(hook, Mapping):
            old = hook.get("begin_iter")
            put(f"custom_hooks[{index}].begin_iter", old, scaled(old))
