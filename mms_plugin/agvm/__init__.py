"""AGVM, the adaptive gradient variance modulator, and its optimizer wrappers."""

from ..utils.lr_scaling import scaled_lr
from .agvm import AGVM
from .agvm_config import AGVMConfig
from .agvm_optim_wrapper import AGVMOptimWrapper
from .agvm_optim_wrapper_constructor import AGVMOptimWrapperConstructor
from .amp_agvm_optim_wrapper import AmpAGVMOptimWrapper
from .bfloat16_agvm_optim_wrapper import BFloat16AGVMOptimWrapper
from .bfloat16_optim_wrapper import BFloat16OptimWrapper
from .inner_products import inner_products
from .variance import (
    gradient_variance,
    half_batch_variance,
    smoothed_multiplier,
    target_multiplier,
)

__all__ = [
    "AGVM",
    "AGVMConfig",
    "AGVMOptimWrapper",
    "AGVMOptimWrapperConstructor",
    "AmpAGVMOptimWrapper",
    "BFloat16AGVMOptimWrapper",
    "BFloat16OptimWrapper",
    "gradient_variance",
    "half_batch_variance",
    "inner_products",
    "scaled_lr",
    "smoothed_multiplier",
    "target_multiplier",
]
