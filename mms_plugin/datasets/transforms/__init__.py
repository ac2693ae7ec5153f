"""Transforms at the size of the batch."""

from .multi_scale_transform import MultiScaleTransform
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
    "MultiScaleMixUp",
    "MultiScaleMosaic",
    "MultiScalePad",
    "MultiScaleRandomAffine",
    "MultiScaleRandomCrop",
    "MultiScaleRandomResizedCrop",
    "MultiScaleResize",
    "MultiScaleTransform",
]
