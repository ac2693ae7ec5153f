"""Check the input sizes that a network is evaluated at."""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence

import torch
from torch import nn

from ..utils.error_text import on_one_line
from ..utils.feature_stride import feature_stride
from ..utils.input_channels import input_channels
from ..utils.padded_size import padded_size
from ..utils.unwrapped_model import unwrapped

__all__ = ["backbone_stride", "check_sizes"]

#: Large enough that the coarsest map of a stride of 64 still has 8 cells a side.
_PROBE = 512


def _run(model: nn.Module, part: Callable[[torch.Tensor], Any], size: int) -> Any:
    """Return the output of a part of the model for an empty, padded image."""
    parameter = next(model.parameters())
    shape = (1, input_channels(model), *padded_size(model, (size, size)))
    image = torch.zeros(shape, device=parameter.device)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return part(image.to(parameter.dtype))
    finally:
        model.train(training)


def backbone_stride(model: nn.Module) -> Optional[int]:
    """Measure the pixels of the image for a cell of the backbone's coarsest map.

    Args:
        model: A model of an MMEngine library, with ``backbone``; it is run once, on
            an image of 512 x 512.

    Returns:
        The stride, such as 32 for a ResNet; None where there is no backbone, no map
        (a transformer's class token), or it takes no images of that size.
    """
    backbone: Any = getattr(model, "backbone", None)
    if backbone is None:
        return None
    try:
        features = _run(model, backbone, _PROBE)
    except Exception:  # of any kind: what the model raises at a size not its own
        return None
    return feature_stride(features, (_PROBE, _PROBE))


def check_sizes(model: nn.Module, sizes: Sequence[int], divisor: int = 1) -> None:
    """Refuse sizes that a model cannot be evaluated at.

    Args:
        model: A model of an MMEngine library, wrapped for several ranks or not. One
            without ``backbone`` is not checked.
        sizes: Sides in pixels.
        divisor: The pipeline pads the sides of an image to multiples of it. Defaults
            to 1.

    Raises:
        ValueError: A size is below the backbone's stride, or backbone and neck
            (``extract_feat``) do not run at it.
    """
    model = unwrapped(model)
    backbone: Any = getattr(model, "backbone", None)
    if backbone is None:
        return
    # With the neck, which may not join the feature maps of every size.
    extract_feat: Any = getattr(model, "extract_feat", backbone)
    stride = backbone_stride(model)
    for size in sizes:
        if stride is not None and size < stride:
            raise ValueError(
                f"size {size} is below the model's stride of {stride} pixels"
            )
        try:
            _run(model, extract_feat, -(-size // divisor) * divisor)
        except Exception as error:
            raise ValueError(
                f"the model does not run at size {size}: {on_one_line(error)}"
            ) from error
