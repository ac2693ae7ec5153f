"""The model within a wrapper for several processes."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn

__all__ = ["unwrapped"]


def unwrapped(model: nn.Module) -> Any:
    """Return the model within ``DistributedDataParallel`` or the like, else itself."""
    return model.module if is_model_wrapper(model) else model
