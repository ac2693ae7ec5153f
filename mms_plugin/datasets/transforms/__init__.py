"""Transforms at the size of the batch, and corruptions for evaluations."""

from .common_corruption import CommonCorruption
from .multi_scale_transform import MultiScaleTransform, default_size_arg
from .shorthands import (
    MultiScaleMixUp,
    MultiScaleMosaic,
    MultiScalePad,
    MultiScaleRandomAffine,
    MultiScaleRandomCrop,
    MultiScaleRandomResizedCrop,
    MultiScaleResize,
)

__all__ = [
    "CommonCorruption",
    "MultiScaleMixUp",
    "MultiScaleMosaic",
    "MultiScalePad",
    "MultiScaleRandomAffine",
    "MultiScaleRandomCrop",
    "MultiScaleRandomResizedCrop",
    "MultiScaleResize",
    "MultiScaleTransform",
    "default_size_arg",
]
