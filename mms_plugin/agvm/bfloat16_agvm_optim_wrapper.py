"""AGVM with mixed precision in bfloat16, also on the CPU."""

from __future__ import annotations

from mmengine.registry import OPTIM_WRAPPERS

from .agvm_optim_wrapper import AGVMOptimWrapper
from .bfloat16_optim_wrapper import BFloat16OptimWrapper

__all__ = ["BFloat16AGVMOptimWrapper"]


@OPTIM_WRAPPERS.register_module()
class BFloat16AGVMOptimWrapper(AGVMOptimWrapper, BFloat16OptimWrapper):
    """Combine AGVM with ``BFloat16OptimWrapper``: no loss scale, no overflow.

    Args:
        **kwargs: Arguments of :class:`~.agvm_optim_wrapper.AGVMOptimWrapper`.
    """
