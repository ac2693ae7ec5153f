"""Turn ``param.grad`` into the gradient that the optimizer's step will use."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, Optional

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["GradientTransform", "unscale_and_clip"]

GradientTransform = Callable[[Tensor], Tensor]
"""Takes elements of a ``param.grad``; returns new ones, free of the loss scale and
clipped."""


def unscale_and_clip(
    optimizer: Optimizer,
    loss_scale: float,
    clip_type: str,
    clip_kwargs: Optional[Dict[str, Any]],
) -> GradientTransform:
    """Return what is done to the gradients between backward pass and step.

    Args:
        optimizer: Its parameters are clipped together.
        loss_scale: The loss scale that the gradients still contain.
        clip_type: ``'norm'`` or ``'value'``.
        clip_kwargs: Arguments of ``torch.nn.utils.clip_grad_norm_`` or
            ``clip_grad_value_``. None: no clipping.

    Returns:
        Callable: Maps elements of a gradient to new ones, without changing them.
    """
    inverse = 1.0 / loss_scale
    if not clip_kwargs:
        return lambda grad: grad * inverse
    if clip_type == "value":
        bound = float(clip_kwargs["clip_value"])
        return lambda grad: (grad * inverse).clamp(-bound, bound)
    order = float(clip_kwargs.get("norm_type", 2.0))
    norms = [
        torch.linalg.vector_norm(param.grad, order)
        for group in optimizer.param_groups
        for param in group["params"]
        if param.requires_grad and param.grad is not None
    ]
    total = math.inf
    if norms:
        device = norms[0].device
        stacked = torch.stack([norm.to(device) for norm in norms])
        total = float(torch.linalg.vector_norm(stacked, order)) * inverse
    factor = min(1.0, float(clip_kwargs["max_norm"]) / (total + 1e-6)) * inverse
    return lambda grad: grad * factor
