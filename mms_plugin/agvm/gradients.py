"""Collect gradients by parameter, and convert them to lists for checkpoints."""

from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence

import torch
from torch import Tensor

__all__ = [
    "GradientDict",
    "all_finite",
    "gradient_copies",
    "gradients_of",
    "tensors_as_list",
    "tensors_from_list",
]

GradientDict = Dict[Tensor, Tensor]
"""The gradient of each parameter that has one."""


def gradients_of(params: Sequence[Tensor]) -> GradientDict:
    """Return the gradient of each parameter that has one."""
    return {param: param.grad for param in params if param.grad is not None}


def all_finite(params: Sequence[Tensor]) -> bool:
    """Return whether no gradient has an infinite or undefined number."""
    gradients = gradients_of(params).values()
    finite = [
        (grad.coalesce().values() if grad.is_sparse else grad).isfinite().all()
        for grad in gradients
    ]
    if not finite:
        return True
    # One transfer to the host; a model may lie on several devices.
    return bool(torch.stack([each.to(finite[0].device) for each in finite]).all())


def gradient_copies(params: Sequence[Tensor]) -> GradientDict:
    """Return a copy of the gradient of each parameter that has one."""
    return {
        param: grad.detach().clone() for param, grad in gradients_of(params).items()
    }


def tensors_as_list(
    params: Sequence[Tensor], tensors: Mapping[Tensor, Tensor]
) -> List[Optional[Tensor]]:
    """Return one tensor per parameter, in order; None where a parameter has none."""
    return [tensors.get(param) for param in params]


def tensors_from_list(
    params: Sequence[Tensor], tensors: Sequence[Optional[Tensor]]
) -> Dict[Tensor, Tensor]:
    """Return the tensors of :func:`tensors_as_list` by parameter, on its device."""
    return {
        param: tensor.to(param.device)
        for param, tensor in zip(params, tensors)
        if tensor is not None
    }
