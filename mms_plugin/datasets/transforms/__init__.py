"""Transforms at the size of the batch, and corruptions for evaluations."""

from .common_corruption import CommonCorruption
from .multi_scale_transform import MultiScaleTransform
from .shorthands import (
    MultiScaleMixUp,
    MultiScaleMosaic,
    MultiScalePad,
    MultiScaleRandomCrop,
    MultiScaleRandomResizedCrop,
    MultiScaleResize,
)

__all__ = [
    "CommonCorruption",
    "MultiScaleMixUp",
    "MultiScaleMosaic",
    "MultiScalePad",
    "MultiScaleRandomCrop",
    "MultiScaleRandomResizedCrop",
    "MultiScaleResize",
    "MultiScaleTransform",
]
