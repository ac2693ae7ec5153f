"""The parts of a runner that several hooks look at."""

from __future__ import annotations

from typing import Any, List, Optional

from mmengine.optim import OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from torch.utils.data import DataLoader

from .multi_scale_variable_batch_sampler import MultiScaleVariableBatchSampler

__all__ = [
    "built_train_loop",
    "loop_counts_iterations",
    "multi_scale_sampler",
    "plain_optim_wrappers",
    "required_sampler",
]


def built_train_loop(runner: Runner) -> Optional[BaseLoop]:
    """Return the train loop; ``None`` where there is only its config, as in a test."""
    # Not the property: it would build the loop, and the training data, for a test.
    loop = runner._train_loop
    return loop if isinstance(loop, BaseLoop) else None


def loop_counts_iterations(loop: BaseLoop) -> bool:
    """Return whether a loop counts iterations only, and no epochs."""
    return isinstance(loop, IterBasedTrainLoop)


def multi_scale_sampler(loader: DataLoader) -> Optional[MultiScaleVariableBatchSampler]:
    """Return the loader's batch sampler, if it is this package's."""
    sampler = getattr(loader, "batch_sampler", None)
    return sampler if isinstance(sampler, MultiScaleVariableBatchSampler) else None


def required_sampler(loop: BaseLoop, hook: str) -> MultiScaleVariableBatchSampler:
    """Return the batch sampler of a loop.

    Args:
        loop: The train loop.
        hook: Name of the hook that needs it, for the error.

    Raises:
        ValueError: It is not this package's.
    """
    sampler = multi_scale_sampler(loop.dataloader)
    if sampler is None:
        got = type(getattr(loop.dataloader, "batch_sampler", None)).__name__
        raise ValueError(
            f"{hook} needs the multi-scale batch sampler: set "
            "train_dataloader.batch_sampler=dict(type='MultiScaleVariableBatchSampler',"
            f" base_size=..., sizes=[...]), but got {got}"
        )
    return sampler


def plain_optim_wrappers(optim_wrapper: Any) -> List[Any]:
    """Return the wrappers inside an ``OptimWrapperDict``, or the only one itself."""
    if isinstance(optim_wrapper, OptimWrapperDict):
        return list(optim_wrapper.values())
    return [optim_wrapper]
