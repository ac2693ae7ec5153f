"""Refuse models whose gradients are sharded over processes."""

from __future__ import annotations

from torch import nn

from ..utils.sharding import sharding_of

__all__ = ["refuse_sharding", "sharding_error"]


def refuse_sharding(model: nn.Module) -> None:
    """Raise :func:`sharding_error` for a model that is sharded over processes."""
    strategy = sharding_of(model)
    if strategy is not None:
        raise sharding_error(strategy)


def sharding_error(strategy: str) -> ValueError:
    """Return the error for AGVM with a sharded model.

    Args:
        strategy: What shards it, from :func:`sharding_of`.
    """
    return ValueError(
        f"AGVM compares whole gradients, which {strategy} shards over the processes. "
        "Train with MMDistributedDataParallel, or with another optim_wrapper."
    )
