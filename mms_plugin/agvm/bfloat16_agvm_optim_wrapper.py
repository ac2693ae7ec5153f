"""AGVM with mixed precision in bfloat16, on the CPU too."""

from __future__ import annotations

from mmengine.registry import OPTIM_WRAPPERS

from .agvm_optim_wrapper import AGVMOptimWrapper
from .bfloat16_optim_wrapper import BFloat16OptimWrapper

__all__ = ["BFloat16AGVMOptimWrapper"]


@OPTIM_WRAPPERS.register_module()
class BFloat16AGVMOptimWrapper(AGVMOptimWrapper, BFloat16OptimWrapper):
    """AGVM over ``BFloat16OptimWrapper``: no loss scale, no overflow.

    Args:
        **kwargs: Those of :class:`~.agvm_optim_wrapper.AGVMOptimWrapper`.
    """
