"""Find the number of channels of a model's images."""

from __future__ import annotations

import torch
from torch import nn

from .unwrapped_model import unwrapped

__all__ = ["input_channels"]


def input_channels(model: nn.Module) -> int:
    """Return the channels of the images that a model takes.

    Those of the first convolution of its backbone (of the model, without one), a
    quarter of them behind YOLOX's ``Focus``; else the number of means of its data
    preprocessor; else 3.

    Args:
        model: Of any MMEngine library, built.
    """
    inner = unwrapped(model)
    root = getattr(inner, "backbone", inner)
    folded = 1
    for module in root.modules() if isinstance(root, nn.Module) else ():
        if type(module).__name__ == "Focus":  # YOLOX: 2 x 2 pixels become channels
            folded = 4
        if isinstance(module, nn.Conv2d):
            return int(module.in_channels) // folded
    mean = getattr(getattr(inner, "data_preprocessor", None), "mean", None)
    if isinstance(mean, torch.Tensor) and mean.numel() > 1:
        return int(mean.numel())
    return 3
