"""The hook that loads the first batch of a training before it starts."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..dry_run.trial_batches import choose_batches, load_batches
from ..multi_scale.dry_run_plan import DryRunPoint
from ..multi_scale.image_size_check import oversized_image
from ..multi_scale.runner_parts import multi_scale_sampler
from ..multi_scale.sizes import size_text
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
        height, width, batch_size = sampler.batch_at_iteration(runner.iter)
        size = (height, width)
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
        image = oversized_image(runner, size, batch)
        if image is not None:
            raise ValueError(
                f"the first batch must have images of {size_text(size)}, but got one "
                f"of {size_text(image)}: a transform of its pipeline sets a size "
                "that does not follow the batch's, or makes the image larger after it "
                "has that size (such as Expand, Pad(pad_to_square=True), or Mosaic "
                "without RandomAffine)"
            )
