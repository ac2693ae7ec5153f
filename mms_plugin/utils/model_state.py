"""Restore what a training pass changes in a model."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator

import torch
from torch import nn

__all__ = ["kept_model_state"]


@contextmanager
def kept_model_state(model: nn.Module) -> Iterator[None]:
    """Restore a model's state after a training pass; within, it has no gradients.

    Gradients, buffers, frozen parameters and training flags are restored. Trainable
    weights are not, since a backward pass does not change them; neither is what a
    model keeps in other attributes, such as a list of past losses.

    Args:
        model: The model, not wrapped.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    training = [(module, module.training) for module in model.modules()]
    buffers = [(m, name, b) for m in model.modules() for name, b in m._buffers.items()]
    tensors = frozen + [b for _, _, b in buffers if b is not None]
    values = [tensor.detach().clone() for tensor in tensors]
    grads = [param.grad for param in trainable]
    for param in trainable:
        param.grad = None
    try:
        yield
    finally:
        for param, grad in zip(trainable, grads):
            param.grad = grad
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
        with torch.no_grad():
            for tensor, value in zip(tensors, values):
                tensor.copy_(value)
        for module, flag in training:
            module.training = flag
