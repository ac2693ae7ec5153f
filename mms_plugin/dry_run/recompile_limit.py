"""Check how often Dynamo may compile a model again, for a training of many sizes."""

from __future__ import annotations

import math
from typing import Dict

from mmengine.runner.base_loop import BaseLoop

from ..multi_scale.dry_run_plan import recompilations
from ..multi_scale.runner_parts import loop_counts_iterations, multi_scale_sampler
from .trial_batches import training_points

__all__ = ["compiled_shapes", "raised_limits"]


def compiled_shapes(loop: BaseLoop) -> int:
    """Return how many shapes of batches a training has at most.

    Args:
        loop: The train loop, its sampler's curriculum set.
    """
    loader = loop.dataloader
    sampler = multi_scale_sampler(loader)
    epochs: int = loop.max_epochs
    if sampler is not None and sampler.endless:
        epochs = 0
    elif loop_counts_iterations(loop):  # whose max_epochs is 1
        epochs = math.ceil(loop.max_iters / len(loader))
    drop_last = getattr(loader.batch_sampler, "drop_last", False)
    return recompilations(training_points(loader), epochs, drop_last)


def raised_limits(shapes: int) -> Dict[str, int]:
    """Return Dynamo's limits, raised by ``shapes``, by the names of this torch."""
    from torch._dynamo import config

    limits = {}
    for new, old in (
        ("recompile_limit", "cache_size_limit"),
        ("accumulated_recompile_limit", "accumulated_cache_size_limit"),
    ):
        for name in (new, old):
            if hasattr(config, name):
                limits[name] = getattr(config, name) + shapes
                break
    return limits
