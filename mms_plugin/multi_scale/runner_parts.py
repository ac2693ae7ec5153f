"""Parts of a runner that several hooks look at."""

from __future__ import annotations

from typing import Any, List, Optional

from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader

from .multi_scale_variable_batch_sampler import MultiScaleVariableBatchSampler

__all__ = ["built_train_loop", "multi_scale_sampler", "plain_optim_wrappers"]


def built_train_loop(runner: Runner) -> Optional[BaseLoop]:
    """The train loop; ``None`` where there is only its config, as in a test."""
    # Not the property: it would build the loop, and the training data, for a test.
    loop = runner._train_loop
    return loop if isinstance(loop, BaseLoop) else None


def multi_scale_sampler(loader: DataLoader) -> Optional[MultiScaleVariableBatchSampler]:
    """The loader's batch sampler, if it is this package's."""
    sampler = getattr(loader, "batch_sampler", None)
    return sampler if isinstance(sampler, MultiScaleVariableBatchSampler) else None


def plain_optim_wrappers(optim_wrapper: Any) -> List[Any]:
    """The wrappers inside an ``OptimWrapperDict``, or the only one itself."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return list(optim_wrapper.values())
    return [optim_wrapper]
