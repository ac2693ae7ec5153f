"""Turns a config of any MMEngine library into one that trains with AGVM."""

from __future__ import annotations

import copy
from typing import Any, Dict, Optional

__all__ = ["agvm_recipe"]

_WRAPPERS = {
    "OptimWrapper": "AGVMOptimWrapper",
    "AmpOptimWrapper": "AmpAGVMOptimWrapper",
    "BFloat16OptimWrapper": "BFloat16AGVMOptimWrapper",
}
_CONSTRUCTOR = "AGVMOptimWrapperConstructor"


def agvm_recipe(config: Any, agvm: Optional[Dict[str, Any]] = None) -> Any:
    """The same config with AGVM: optimizer, schedule and all else are kept.

    The measurements start 100 iterations after the end of the last warm-up that goes
    by iteration, as in the released recipes, or at iteration 100 without one.

    Args:
        config: A config, as a dict or an MMEngine ``Config``. It is not changed.
        agvm: Arguments that take the place of the recipe's. Defaults to None.

    Returns:
        A copy of the config with ``optim_wrapper`` and ``custom_imports`` changed.

    Raises:
        ValueError: There is no ``optim_wrapper``, or one that AGVM has no twin of.
    """
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
    constructor = wrapper.get("constructor", "DefaultOptimWrapperConstructor")
    if constructor != _CONSTRUCTOR:
        wrapper["constructor"] = _CONSTRUCTOR
        if constructor != "DefaultOptimWrapperConstructor":
            wrapper["base"] = constructor
    arguments = dict(start_iter=_end_of_warmup(config) + 100)
    arguments.update(wrapper.get("agvm") or {})
    arguments.update(agvm or {})
    wrapper["agvm"] = arguments
    imports = config.get("custom_imports") or dict(imports=[])
    names = imports["imports"]
    names = [names] if isinstance(names, str) else list(names)
    if "mms_plugin" not in names:
        names.append("mms_plugin")
    config["custom_imports"] = dict(imports=names, allow_failed_imports=False)
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
        and scheduler["type"] in ("LinearLR", "ConstantLR", "ExponentialLR")
        and scheduler["end"] < 10**8  # not "for ever"
    ]
    return max(ends, default=0)
