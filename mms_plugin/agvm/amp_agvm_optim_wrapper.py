"""AGVM with automatic mixed precision."""

from __future__ import annotations

from typing import Any, Dict, Optional

from mmengine.optim import AmpOptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from .agvm_optim_wrapper import AGVMOptimWrapper
from .sharded_gradients import sharding_error

__all__ = ["AmpAGVMOptimWrapper"]


@OPTIM_WRAPPERS.register_module()
class AmpAGVMOptimWrapper(AGVMOptimWrapper, AmpOptimWrapper):
    """Combine AGVM with ``AmpOptimWrapper``.

    The loss scale does not change the variances, which are angles; Adam's second
    moments are computed from gradients without it. If the gradients of an iteration
    overflow, its measurement is dropped together with its update.

    Args:
        agvm (dict, optional): See :class:`~.agvm_config.AGVMConfig`. Defaults to None.
        **kwargs: Arguments of ``AmpOptimWrapper`` except ``use_fsdp``.

    Raises:
        ValueError: ``use_fsdp`` is set.
    """

    def __init__(self, agvm: Optional[Dict] = None, **kwargs: Any) -> None:
        if kwargs.get("use_fsdp"):
            raise sharding_error("FSDP")
        super().__init__(agvm=agvm, **kwargs)

    def _loss_scale(self) -> float:
        return self.loss_scaler.get_scale()

    def _drops_overflow(self) -> bool:
        return self.loss_scaler.is_enabled()
