"""The hook that makes the first batch of a training before it starts."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Tuple

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..dry_run.trial_batches import choose_batches, load_batches
from ..multi_scale.dry_run_plan import DryRunPoint
from ..multi_scale.multi_scale_variable_batch_sampler import (
    MultiScaleVariableBatchSampler,
)
from ..multi_scale.runner_parts import multi_scale_sampler
from ..multi_scale.sizes import Size
from ..utils.error_text import message_lines

__all__ = ["FirstBatchHook"]


@HOOKS.register_module()
class FirstBatchHook(Hook):
    """Make one batch of the training's first size before the training starts.

    A pipeline that a recipe has converted is so tried as a whole: images are loaded,
    pass all transforms at the size, and are put together. Images that come out larger
    than the size are an error: a transform sets another one.

    The batch comes from a worker process of its own and is thrown away, so that the
    training is the same with the hook and without. Without
    :class:`MultiScaleVariableBatchSampler` nothing is made.

    Raises:
        ValueError: The batch cannot be made, or its images do not have the size.
    """

    priority = "LOWEST"

    def before_train(self, runner: Runner) -> None:
        """Make the batch."""
        loader = runner.train_loop.dataloader
        sampler = multi_scale_sampler(loader)
        if sampler is None:
            return
        size, batch_size = _first(sampler, runner.epoch, runner.iter)
        point = DryRunPoint(size, batch_size)
        try:
            batch = next(iter(load_batches(loader, choose_batches(loader, [point]))))
        except Exception as error:
            text = (message_lines(str(error)) or [type(error).__name__])[-1]
            raise ValueError(f"the first batch, {point}, cannot be made: {text}") from (
                error
            )
        for height, width in _image_sizes(batch):
            if min(height, width) > min(size) + 1:
                raise ValueError(
                    f"the first batch must have images of {size[0]}x{size[1]}, but got "
                    f"one of {height}x{width}: a transform of its pipeline sets a size "
                    "that does not follow the batch's"
                )


def _first(
    sampler: MultiScaleVariableBatchSampler, epoch: int, iteration: int
) -> Tuple[Size, int]:
    if sampler.endless:
        plan = sampler.plan_iterations(iteration, iteration + 1)
    else:
        plan = sampler.plan(epoch)
    height, width, batch_size = plan[0]
    return (height, width), batch_size


def _image_sizes(batch: Any) -> Iterator[Size]:
    """Yield ``(height, width)`` of the images in a batch, views of them too."""
    images = batch.get("inputs") if isinstance(batch, Mapping) else None
    if isinstance(images, torch.Tensor) and images.dim() >= 3:
        yield int(images.shape[-2]), int(images.shape[-1])
    elif isinstance(images, (list, tuple)):
        for each in images:
            yield from _image_sizes(dict(inputs=each))
