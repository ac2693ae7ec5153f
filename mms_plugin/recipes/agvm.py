"""Turns a config of any MMEngine library into one that trains with AGVM."""

from __future__ import annotations

import copy
from typing import Any, Dict, Optional

from .config_edits import Report, add_plugin_import, kind_of

__all__ = ["agvm_recipe"]

_WRAPPERS = {
    "OptimWrapper": "AGVMOptimWrapper",
    "AmpOptimWrapper": "AmpAGVMOptimWrapper",
    "BFloat16OptimWrapper": "BFloat16AGVMOptimWrapper",
}
_CONSTRUCTOR = "AGVMOptimWrapperConstructor"


def agvm_recipe(
    config: Any,
    agvm: Optional[Dict[str, Any]] = None,
    *,
    report: Optional[Report] = None,
) -> Any:
    """The same config with AGVM: optimizer, schedule and all else are kept.

    The measurements start 100 iterations after the end of the last warm-up that goes
    by iteration, as in the released recipes, or at iteration 100 without one.

    Args:
        config: A config, as a dict or an MMEngine ``Config``. It is not changed.
        agvm: Arguments that take the place of the recipe's. Defaults to None.
        report: Called with a line for each change, ``place: old -> new``.

    Returns:
        A copy of the config with ``optim_wrapper`` and ``custom_imports`` changed.

    Raises:
        ValueError: There is no ``optim_wrapper``, or one that AGVM has no twin of.
    """
    report = report or (lambda line: None)
    config = copy.deepcopy(config)
    wrapper = config.get("optim_wrapper")
    if not isinstance(wrapper, dict) or "optimizer" not in wrapper:
        raise ValueError(
            "recipe agvm needs optim_wrapper=dict(optimizer=dict(...)) in the config, "
            f"but found {wrapper!r}."
        )
    kind = wrapper.get("type", "OptimWrapper")
    kind = kind if isinstance(kind, str) else kind.__name__
    name = kind.split(".")[-1]
    if name not in {*_WRAPPERS, *_WRAPPERS.values()}:
        raise ValueError(
            f"recipe agvm cannot replace optim_wrapper.type={kind!r}. It replaces "
            f"{', '.join(_WRAPPERS)}."
        )
    wrapper["type"] = _WRAPPERS.get(name, name)
    report(f"optim_wrapper.type: {name} -> {wrapper['type']}")
    constructor = wrapper.get("constructor", "DefaultOptimWrapperConstructor")
    if constructor != _CONSTRUCTOR:
        wrapper["constructor"] = _CONSTRUCTOR
        if constructor != "DefaultOptimWrapperConstructor":
            wrapper["base"] = constructor
        old = getattr(constructor, "__name__", constructor)
        report(f"optim_wrapper.constructor: {old} -> {_CONSTRUCTOR}")
    arguments = dict(start_iter=_end_of_warmup(config) + 100)
    arguments.update(wrapper.get("agvm") or {})
    arguments.update(agvm or {})
    wrapper["agvm"] = arguments
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    report(f"optim_wrapper.agvm: {shown}")
    add_plugin_import(config, report)
    return config


def _end_of_warmup(config: Any) -> int:
    schedulers = config.get("param_scheduler") or []
    if isinstance(schedulers, dict):
        schedulers = [schedulers]
    ends = [
        scheduler["end"]
        for scheduler in schedulers
        if scheduler.get("by_epoch", True) is False
        and "end" in scheduler
        and kind_of(scheduler).name in ("LinearLR", "ConstantLR", "ExponentialLR")
        and scheduler["end"] < 10**8  # not "for ever"
    ]
    return max(ends, default=0)
