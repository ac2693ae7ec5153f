"""Plans of epochs: the sizes and batch sizes of their iterations."""

from __future__ import annotations

from typing import Iterator, List, Optional, Tuple

from ..multi_scale.curriculum import ResolutionCurriculum
from ..multi_scale.multi_scale_variable_batch_sampler import (
    MultiScaleVariableBatchSampler,
)

__all__ = ["EpochPlan", "fixed_size_plan", "multi_scale_plans"]

#: ``(height, width, batch_size)`` of every iteration of an epoch.
EpochPlan = List[Tuple[int, int, int]]


def fixed_size_plan(
    num_samples: int, batch_size: int, size: Tuple[int, int], drop_last: bool = False
) -> EpochPlan:
    """Return an epoch of SSc-FBS: one size, one batch size, the last batch smaller.

    Args:
        num_samples: Samples of the epoch on one rank.
        batch_size: Images per rank.
        size: ``(height, width)`` in pixels.
        drop_last: Leave out a last batch that is not full. Defaults to False.
    """
    full, rest = divmod(num_samples, batch_size)
    plan = [(*size, batch_size)] * full
    return plan if drop_last or not rest else [*plan, (*size, rest)]


def multi_scale_plans(
    batch_sampler: MultiScaleVariableBatchSampler,
    max_epochs: int,
    curriculum: Optional[ResolutionCurriculum] = None,
) -> Iterator[EpochPlan]:
    """Yield the plan of each epoch of a training by epochs, on one rank.

    Args:
        batch_sampler: That of the training's data loader. The curriculum is set on it.
        max_epochs: Epochs of the training.
        curriculum: That of its ``ResolutionCurriculumHook``. Defaults to None: every
            epoch draws from all sizes.
    """
    if curriculum is not None:
        batch_sampler.set_curriculum(curriculum, max_epochs=max_epochs)
    for epoch in range(max_epochs):
        yield batch_sampler.plan(epoch)
