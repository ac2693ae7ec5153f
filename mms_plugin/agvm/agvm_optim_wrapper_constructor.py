"""Build an optimizer whose param groups follow the model's modules."""

from __future__ import annotations

import copy
from typing import Any, Dict, Optional, Sequence, Union

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import nn

from ..utils.config_types import class_name
from ..utils.lr_scaling import scaled_lr
from ..utils.unwrapped_model import unwrapped
from ..utils.validation import is_number
from .agvm import anchor_modules
from .agvm_config import AGVMConfig
from .find_modules import REST, assign_parameters, find_modules, shared_parameters
from .param_groups import module_table, split_groups
from .sharded_gradients import refuse_sharding
from .update_direction import update_direction

__all__ = ["AGVMOptimWrapperConstructor"]

_MOST_SHOWN = 5


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class AGVMOptimWrapperConstructor:
    """Build the optimizer with another constructor, then split its param groups.

    Each param group is split by module and keeps its options, so that
    ``paramwise_cfg`` has the meaning that the other constructor gives it. Every group
    names its module as ``group['agvm_module']``. A parameter that several modules
    share belongs to the first of them.

    Args:
        optim_wrapper_cfg (dict): Config of an ``AGVMOptimWrapper``. It may also have
            ``base`` and ``lr_scaling``, which replace the arguments below.
        paramwise_cfg (dict, optional): Passed to the other constructor. Defaults to
            None.
        base (str | type): Type of the constructor that builds the optimizer, such as
            mmdet's ``'LearningRateDecayOptimizerConstructor'``.
            Defaults to ``'DefaultOptimWrapperConstructor'``.
        lr_scaling (dict, optional): Arguments ``batch_size``, ``base_batch_size`` and
            ``rule`` of :func:`~..utils.lr_scaling.scaled_lr`, for the optimizer's
            ``lr``. Do not use it together with ``auto_scale_lr``. Defaults to None.

    Raises:
        TypeError: See :class:`~.agvm_config.AGVMConfig`.
        ValueError: See :class:`~.agvm_config.AGVMConfig`,
            :func:`~.find_modules.find_modules` and
            :func:`~.update_direction.update_direction`; also for sparse gradients,
            sharded models, and a trainable parameter that the other constructor left
            out.
    """

    def __init__(
        self,
        optim_wrapper_cfg: Dict[str, Any],
        paramwise_cfg: Optional[Dict[str, Any]] = None,
        base: Union[str, type] = "DefaultOptimWrapperConstructor",
        lr_scaling: Optional[Dict[str, Any]] = None,
    ) -> None:
        if not isinstance(optim_wrapper_cfg, dict) or not isinstance(
            optim_wrapper_cfg.get("optimizer"), dict
        ):
            raise ValueError(
                "optim_wrapper must be a dict with optimizer=dict(...), but got "
                f"{optim_wrapper_cfg!r}."
            )
        self.wrapper_cfg = copy.copy(optim_wrapper_cfg)
        self.base = self.wrapper_cfg.pop("base", base)
        lr_scaling = self.wrapper_cfg.pop("lr_scaling", lr_scaling)
        self.optimizer_cfg = copy.deepcopy(self.wrapper_cfg.pop("optimizer"))
        self.paramwise_cfg = copy.deepcopy(paramwise_cfg)
        self.config = AGVMConfig.build(self.wrapper_cfg.get("agvm"))
        self.wrapper_cfg.setdefault("type", "AGVMOptimWrapper")
        if lr_scaling is not None:
            rate = self.optimizer_cfg.get("lr")
            if not is_number(rate):
                raise ValueError(
                    "lr_scaling scales optimizer.lr, which must be a number, but is "
                    f"{rate!r}."
                )
            self.optimizer_cfg["lr"] = scaled_lr(rate, **_checked(lr_scaling))

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a model, wrapped or not."""
        refuse_sharding(model)
        model = unwrapped(model)
        _refuse_sparse_gradients(model)
        names = find_modules(model, self.config.modules)
        owner = assign_parameters(model, names)
        trainable = [p for p in model.parameters() if p.requires_grad]
        present = [n for n in [*names, REST] if any(owner[p] == n for p in trainable)]
        anchors = anchor_modules(self.config.anchor, present)

        optimizer = self._build_optimizer(model)
        update_direction(optimizer)
        groups = split_groups(optimizer.param_groups, owner)
        optimized = {param for group in groups for param in group["params"]}
        for name, param in model.named_parameters():
            if param.requires_grad and param not in optimized:
                raise ValueError(
                    f"constructor {self.base!r} left the trainable parameter {name!r} "
                    "out of the optimizer. Freeze it (requires_grad=False) or use "
                    "another base constructor."
                )
        optimizer.param_groups.clear()
        for group in groups:
            optimizer.add_param_group(group)
        print_log(
            "AGVM compares these modules:\n" + module_table(groups, anchors),
            logger="current",
        )
        # A copy, since the wrapper removes entries of clip_grad.
        return OPTIM_WRAPPERS.build(
            copy.deepcopy(self.wrapper_cfg), default_args=dict(optimizer=optimizer)
        )

    def _build_optimizer(self, model: nn.Module) -> Any:
        paramwise_cfg = self.paramwise_cfg
        default = class_name(self.base) == "DefaultOptimWrapperConstructor"
        if paramwise_cfg and default and shared_parameters(model):
            # Otherwise it refuses a model with shared parameters.
            paramwise_cfg = {"bypass_duplicate": True, **paramwise_cfg}
        constructor = OPTIM_WRAPPER_CONSTRUCTORS.build(
            dict(
                type=self.base,
                optim_wrapper_cfg=dict(
                    type="OptimWrapper", optimizer=copy.deepcopy(self.optimizer_cfg)
                ),
                paramwise_cfg=paramwise_cfg,
            )
        )
        try:
            return constructor(model).optimizer
        except ValueError as error:
            # torch's message names no parameter.
            shared = shared_parameters(model)
            if not shared or "more than one parameter group" not in str(error):
                raise
            bypassed = bool((paramwise_cfg or {}).get("bypass_duplicate"))
            raise ValueError(self._shared_text(shared, bypassed)) from error

    def _shared_text(self, shared: Sequence[Sequence[str]], bypassed: bool) -> str:
        """Explain that a constructor put shared parameters into several groups."""
        shown = "; ".join(" = ".join(names) for names in shared[:_MOST_SHOWN])
        if len(shared) > _MOST_SHOWN:
            shown += f"; and {len(shared) - _MOST_SHOWN} more"
        remedy = (
            "Set bypass_duplicate=True in paramwise_cfg, so that each lies in the "
            "group of its first name."
        )
        if bypassed:
            remedy = (
                "It does so with bypass_duplicate=True in paramwise_cfg too: set base "
                "to a constructor that heeds it, such as "
                "'DefaultOptimWrapperConstructor', or do not share them."
            )
        return (
            f"constructor {self.base!r} put parameters that the model shares under "
            f"several names into more than one param group: {shown}. {remedy}"
        )


def _checked(lr_scaling: Any) -> Dict[str, Any]:
    """Return ``lr_scaling`` if it is a dict of arguments of :func:`scaled_lr`."""
    needed, known = {"batch_size", "base_batch_size"}, {"rule"}
    if not isinstance(lr_scaling, dict) or not (
        needed <= lr_scaling.keys() <= needed | known
    ):
        raise ValueError(
            "lr_scaling must be dict(batch_size=..., base_batch_size=...), with rule= "
            f"if it is not 'linear', but got {lr_scaling!r}."
        )
    return lr_scaling


def _refuse_sparse_gradients(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) and module.sparse:
            raise ValueError(
                f"AGVM cannot compare sparse gradients, which {name!r} "
                f"({type(module).__name__}) has. Set sparse=False."
            )
