"""Transforms at the size of the batch."""

from .multi_scale_transform import MultiScaleTransform
from .shorthands import (
    MultiScalePad,
    MultiScaleRandomCrop,
    MultiScaleRandomResizedCrop,
    MultiScaleResize,
)

__all__ = [
    "MultiScalePad",
    "MultiScaleRandomCrop",
    "MultiScaleRandomResizedCrop",
    "MultiScaleResize",
    "MultiScaleTransform",
]
