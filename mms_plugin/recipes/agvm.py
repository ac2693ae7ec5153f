"""Convert a config of any MMEngine library to train with AGVM."""

from __future__ import annotations

import copy
from typing import Any, Dict, Optional

from ..agvm import AGVMConfig
from ..agvm.agvm_config import arguments_to_fit
from .config_edits import Report, add_plugin_import, kind_of
from .large_batch_recipe import LARGE_BATCH_OPTIONS, large_batch_recipe

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
    **large_batch: Any,
) -> Any:
    """Convert a config to train with AGVM.

    Without ``batch_size``, only the optimizer wrapper changes, and AGVM measures from
    100 iterations after the end of the last warm-up that counts iterations, or from
    iteration 100 if there is none. With ``batch_size``, the config gets the released
    large-batch recipe, see :func:`large_batch_recipe`.

    Args:
        config: A config, as a dict or an MMEngine ``Config``. It is not changed.
        agvm: Arguments of AGVM, which take precedence over those that the recipe
            chooses, unless they are None to be fitted. Defaults to None.
        report: Called with a line for each change, ``place: old -> new``. Defaults to
            None.
        **large_batch: ``batch_size`` (images per update over all ranks) and the other
            arguments of :func:`large_batch_recipe`.

    Returns:
        A converted copy of the config.

    Raises:
        TypeError: If there is no such argument.
        ValueError: If there is no ``optim_wrapper`` or AGVM has no version of it, an
            argument is not valid, or the batch cannot be split among the ranks.
    """
    report = report or (lambda line: None)
    _check_large_batch(large_batch)
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
    arguments: Dict[str, Any] = dict(wrapper.get("agvm") or {})
    given: Dict[str, Any] = dict(agvm or {})
    if "batch_size" in large_batch:
        AGVMConfig.build({**arguments, **given})
        for name in arguments_to_fit(given):  # to the training: done here
            del given[name]
        arguments.update(
            large_batch_recipe(config, **large_batch, agvm=given, report=report)
        )
    else:
        arguments = {"start_iter": _end_of_warmup(config) + 100, **arguments}
    arguments.update(given)
    AGVMConfig.build(arguments)  # refuses wrong ones before anything is built
    wrapper["agvm"] = arguments
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    report(f"optim_wrapper.agvm: {shown}")
    add_plugin_import(config, report)
    return config


def _check_large_batch(options: Dict[str, Any]) -> None:
    for name in options:
        if name not in LARGE_BATCH_OPTIONS:
            raise TypeError(
                f"agvm_recipe has no argument {name!r}; its arguments are "
                f"{', '.join(LARGE_BATCH_OPTIONS)}"
            )
    # These do no harm without a batch size: commands set the ranks and the samples.
    needing = set(options) - {"batch_size", "world_size", "num_samples", "keep"}
    if "batch_size" not in options and needing:
        name = sorted(needing)[0]
        raise ValueError(
            f"{name}={options[name]!r} needs batch_size=N, the number of images per "
            "update over all ranks"
        )


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
        and scheduler["end"] < 10**8  # a larger end means "never"
    ]
    return max(ends, default=0)
