"""Keep a model that is wrapped for several processes unchanged in a dry run."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Iterator

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..utils.sharding import sharding_of

__all__ = ["check_model", "finds_unused_parameters", "without_gradient_exchange"]


def check_model(model: nn.Module) -> None:
    """Refuse models that cannot be restored after a dry run.

    Args:
        model: Wrapped or not.

    Raises:
        ValueError: Its weights are sharded over the processes, or its
            ``DistributedDataParallel`` has ``static_graph=True``.
    """
    strategy = sharding_of(model)
    if strategy is not None:
        raise ValueError(
            "DryRunHook restores whole weights and optimizer states, which "
            f"{strategy} shards over the processes: remove the hook"
        )
    for module in model.modules():
        if isinstance(module, DistributedDataParallel) and module.static_graph:
            raise ValueError(
                "DryRunHook needs DistributedDataParallel without a static graph: "
                "static_graph=True learns it from the first passes, which would be "
                "those of the dry run. Remove the hook, or set static_graph=False in "
                "model_wrapper_cfg"
            )


def finds_unused_parameters(model: nn.Module) -> bool:
    """Return whether a model is wrapped with ``find_unused_parameters=True``."""
    return any(
        isinstance(module, DistributedDataParallel) and module.find_unused_parameters
        for module in model.modules()
    )


@contextmanager
def without_gradient_exchange(model: nn.Module) -> Iterator[None]:
    """Run without DDP's collectives: no rank waits for another one, which may fail.

    ``broadcast_buffers`` stays ``False``; the dry run restores it with the model's
    other attributes.

    Args:
        model: Wrapped or not.
    """
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, DistributedDataParallel):
                stack.enter_context(module.no_sync())
                module.broadcast_buffers = False
        yield
