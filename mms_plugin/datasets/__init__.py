"""How a batch's size reaches the pixels, and the built-in data."""

from .imagenet_variant import ImageNetVariant
from .multi_scale_dataset import MultiScaleDataset, size_in_use
from .transforms import CommonCorruption, MultiScaleTransform

__all__ = [
    "CommonCorruption",
    "ImageNetVariant",
    "MultiScaleDataset",
    "MultiScaleTransform",
    "size_in_use",
]
