"""How a batch's size reaches the pixels, and the built-in data."""

from .multi_scale_dataset import MultiScaleDataset, size_in_use
from .transforms import MultiScaleTransform

__all__ = ["MultiScaleDataset", "MultiScaleTransform", "size_in_use"]
