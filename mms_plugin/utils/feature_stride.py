"""Read a network's stride off the feature maps that it gives."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import torch

__all__ = ["feature_stride"]


def feature_stride(features: Any, size: Tuple[int, int]) -> Optional[int]:
    """Return the pixels of the image for a cell of the coarsest feature map.

    Args:
        features: The output of a backbone: a tensor, or a nesting of lists, tuples and
            dicts of tensors. Feature maps are those of four dimensions.
        size: Height and width of the images in pixels. A size far above the stride
            gives it exactly.

    Returns:
        The stride, such as 32 for a ResNet, or ``None`` without feature maps (as for a
        transformer's class token).
    """
    sides = [
        side / max(cells, 1)
        for features_map in _feature_maps(features)
        for side, cells in zip(size, features_map.shape[-2:])
    ]
    return round(max(sides)) if sides else None


def _feature_maps(features: Any) -> List[torch.Tensor]:
    if isinstance(features, torch.Tensor):
        return [features] if features.ndim == 4 else []
    if isinstance(features, dict):
        features = list(features.values())
    if isinstance(features, (list, tuple)):
        return [item for part in features for item in _feature_maps(part)]
    return []
