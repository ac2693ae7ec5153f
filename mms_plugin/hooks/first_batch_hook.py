"""The hook that loads the first batch of a training before it starts."""

from __future__ import annotations

from typing import Tuple

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

from ..dry_run.trial_batches import choose_batches, load_batches
from ..multi_scale.dry_run_plan import DryRunPoint
from ..multi_scale.image_size_check import (
    divisor_of,
    is_larger,
    resizes_batches,
    sizes_in_batch,
)
from ..multi_scale.multi_scale_variable_batch_sampler import (
    MultiScaleVariableBatchSampler,
)
from ..multi_scale.runner_parts import multi_scale_sampler
from ..multi_scale.sizes import Size, size_text
from ..utils.error_text import message_lines
from ..utils.setting_error import SettingError

__all__ = ["FirstBatchHook"]


@HOOKS.register_module()
class FirstBatchHook(Hook):
    """Load one batch of the training's first size before the training starts.

    It tests a pipeline that a recipe has converted: images are loaded, go through all
    transforms at that size, and are collated. If they are larger than the size, some
    transform sets another one, and the hook raises an error; not if the size is set
    later, by the data preprocessor.

    The batch is loaded by a worker process of its own and thrown away, so that the
    training is the same with the hook and without. Without
    :class:`MultiScaleVariableBatchSampler` the hook does nothing.

    Raises:
        ValueError: The batch fails to load, or its images do not have the size.
    """

    priority = "LOWEST"

    def before_train(self, runner: Runner) -> None:
        """Load the batch and check the size of its images."""
        loader = runner.train_loop.dataloader
        sampler = multi_scale_sampler(loader)
        if sampler is None:
            return
        size, batch_size = _first(sampler, runner)
        point = DryRunPoint(size, batch_size)
        try:
            batch = next(iter(load_batches(loader, choose_batches(loader, [point]))))
        except Exception as error:
            text = (message_lines(str(error)) or [type(error).__name__])[-1]
            # A worker's begins with the path of its class.
            text = text.replace(f"{SettingError.__module__}.", "", 1)
            raise ValueError(f"the first batch, {point}, fails to load: {text}") from (
                error
            )
        if resizes_batches(runner.model):
            return
        divisor = divisor_of(runner.cfg.get("train_dataloader"))
        for height, width in sizes_in_batch(batch):
            if is_larger((height, width), size, divisor):
                raise ValueError(
                    f"the first batch must have images of {size_text(size)}, but got "
                    f"one of {height}x{width}: a transform of its pipeline sets a size "
                    "that does not follow the batch's, or makes the image larger after "
                    "it has that size (such as Expand, Pad(pad_to_square=True), or "
                    "Mosaic without RandomAffine)"
                )


def _first(sampler: MultiScaleVariableBatchSampler, runner: Runner) -> Tuple[Size, int]:
    """Return the size of the first batch, and its number of images."""
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    if by_epoch and not sampler.endless:
        # In other settings nothing may be left of a resumed epoch.
        plan = sampler.plan(runner.epoch) or sampler.plan(runner.epoch + 1)
        height, width, batch_size = plan[0]
    else:  # the epoch of other loops is always 0
        height, width, batch_size = sampler.batch_at_iteration(runner.iter)
    return (height, width), batch_size
