"""Convert a config of any MMEngine library to train with AGVM."""

from __future__ import annotations

import copy
from typing import Any, Dict, Optional

from mmengine.registry import OPTIMIZERS

from ..agvm import AGVMConfig
from ..agvm.agvm_config import arguments_to_fit
from ..agvm.fit_measurements import DELAY, WARMUP_PART
from ..agvm.update_direction import has_update_direction
from ..agvm.wrapper_names import PLAIN, WITH_AGVM
from ..utils.config_types import class_name, scope_of
from ..utils.validation import is_integer, is_number
from .config_edits import RecipeError, Report, add_plugin_import
from .large_batch_recipe import LARGE_BATCH_OPTIONS, large_batch_recipe
from .warmup import find_warmup

__all__ = ["agvm_recipe"]

_CONSTRUCTOR = "AGVMOptimWrapperConstructor"
_PLAIN_CONSTRUCTOR = "DefaultOptimWrapperConstructor"


def agvm_recipe(
    config: Any,
    agvm: Optional[Dict[str, Any]] = None,
    *,
    report: Optional[Report] = None,
    **large_batch: Any,
) -> Any:
    """Convert a config to train with AGVM.

    Without ``batch_size``, only the optimizer wrapper changes, and AGVM measures from
    100 iterations after the warm-up on, or from iteration 100 if there is none. After a
    warm-up that counts epochs, the start is fitted when the training begins. With
    ``batch_size``, the config gets the released large-batch recipe, see
    :func:`large_batch_recipe`.

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
        TypeError: If there is no such argument, or an argument of AGVM has the wrong
            type.
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
    name = class_name(wrapper.get("type", "OptimWrapper"))
    if name not in PLAIN + WITH_AGVM:
        raise ValueError(
            f"recipe agvm cannot replace optim_wrapper.type={name!r}. It replaces "
            f"{', '.join(PLAIN)}."
        )
    _check_optimizer(wrapper["optimizer"], scope_of(config))
    wrapper["type"] = dict(zip(PLAIN, WITH_AGVM)).get(name, name)
    report(f"optim_wrapper.type: {name} -> {wrapper['type']}")
    constructor = wrapper.get("constructor", _PLAIN_CONSTRUCTOR)
    if class_name(constructor) != _CONSTRUCTOR:
        old = getattr(constructor, "__name__", constructor)
        new = _CONSTRUCTOR
        if class_name(constructor) != _PLAIN_CONSTRUCTOR:
            # As it is: an imported class, once found, is not written to a file.
            wrapper["base"] = dict.__getitem__(wrapper, "constructor")
            new += f"(base={old})"
        wrapper["constructor"] = _CONSTRUCTOR
        report(f"optim_wrapper.constructor: {old} -> {new}")
    arguments: Dict[str, Any] = dict(wrapper.get("agvm") or {})
    given: Dict[str, Any] = dict(agvm or {})
    if "batch_size" in large_batch:
        AGVMConfig.build({"start_iter": None, **arguments, **given})
        for name in arguments_to_fit(given):  # to the training: done here
            del given[name]
        chosen = large_batch_recipe(config, **large_batch, agvm=given, report=report)
        for key, value in chosen.items():
            if arguments.get(key, value) not in (None, value):
                report(f"optim_wrapper.agvm.{key}: {arguments[key]} -> {value}")
        arguments.update(chosen)
    elif "start_iter" not in {**arguments, **given}:
        arguments["start_iter"] = _start_after_warmup(config)
    arguments.update(given)
    if "start_iter" not in given:
        _check_stop(arguments.get("stop_iter"), arguments["start_iter"])
    AGVMConfig.build(arguments)  # refuses wrong ones before anything is built
    wrapper["agvm"] = arguments
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    report(f"optim_wrapper.agvm: {shown}")
    add_plugin_import(config, report)
    return config


def _check_optimizer(optimizer: Any, scope: str) -> None:
    """Refuse an optimizer of which AGVM does not know the update direction."""
    with OPTIMIZERS.switch_scope_and_registry(scope) as registry:
        kind = optimizer.get("type") if isinstance(optimizer, dict) else None
        kind = registry.get(kind) if isinstance(kind, str) else kind
    if isinstance(kind, type) and not has_update_direction(kind):
        raise RecipeError(
            "optim_wrapper.optimizer.type",
            f"AGVM knows no update direction of {kind.__name__}; it knows those of "
            "SGD, Adam, AdamW, and mmpretrain's Lamb and LARS",
        )


def _check_large_batch(options: Dict[str, Any]) -> None:
    for name in options:
        if name not in LARGE_BATCH_OPTIONS:
            raise TypeError(
                f"agvm_recipe has no argument {name!r}; its arguments are "
                f"{', '.join(LARGE_BATCH_OPTIONS)}"
            )
    if options and "batch_size" not in options:
        name = min(options, key=LARGE_BATCH_OPTIONS.index)
        raise ValueError(
            f"{name}={options[name]!r} needs batch_size=N, the number of images per "
            "update over all ranks"
        )


def _start_after_warmup(config: Any) -> Optional[int]:
    """Return AGVM's first iteration; None: to be fitted when the training begins."""
    warmup = find_warmup(config)
    if not warmup.epochs:
        return warmup.iterations + DELAY
    epochs: Any = (config.get("train_cfg") or {}).get("max_epochs")
    if is_number(epochs) and warmup.epochs > WARMUP_PART * epochs:
        raise RecipeError(
            "param_scheduler",
            f"warms up for {warmup.epochs} of {epochs} epochs, more than the eighth of "
            "a training after which AGVM starts; set start_iter=N, an iteration after "
            "the warm-up",
        )
    return None


def _check_stop(stop: Any, start: Optional[int]) -> None:
    if start is not None and is_integer(stop) and stop < start:
        raise ValueError(
            f"stop_iter must be at least {start}, the iteration after the warm-up at "
            f"which AGVM starts, but got {stop}; set start_iter too"
        )
