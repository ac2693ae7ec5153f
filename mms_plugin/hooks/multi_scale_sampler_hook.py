"""The hook of a training with the multi-scale batch sampler."""

from __future__ import annotations

import math
from typing import Any, Optional

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from ..checkpoints.sampler_checkpoint import SamplerCheckpoint
from ..multi_scale.batch_lr_scaling import BatchLrScaling
from ..multi_scale.image_size_check import ImageSizeCheck
from ..multi_scale.inner_sampler import resumes_exactly
from ..multi_scale.iteration_seeds import seed_iteration
from ..multi_scale.multi_scale_variable_batch_sampler import (
    MultiScaleVariableBatchSampler,
)
from ..multi_scale.rank_check import check_ranks_agree
from ..multi_scale.runner_parts import (
    built_train_loop,
    loop_counts_iterations,
    required_sampler,
)
from ..multi_scale.size_log import SizeLog
from ..multi_scale.size_loss_log import SizeLossLog
from ..multi_scale.training_length import TrainingLength


@HOOKS.register_module()
class MultiScaleSamplerHook(Hook):
    """Resume a training with :class:`MultiScaleVariableBatchSampler` exactly.

    For training without a curriculum (MSc-VBS); ``ResolutionCurriculumHook`` does all
    of it too.

    A training that is resumed, at the end of an epoch or within it, continues with the
    remaining batches and loads none of the earlier ones: its position is in the
    checkpoint. The model's random numbers (dropout, RoI sampling) are seeded by the
    iteration, so that they are those of an uninterrupted training. With another world
    size or batch size the remaining images of the epoch are planned again, and past
    iterations count as if they had been run in the current settings
    (``IterBasedTrainLoop`` keeps its count).
    ``runner.max_iters`` and the times of parameter schedulers are corrected for epochs
    of unequal length. Schedulers by epoch stay as they are.

    In each iteration it records ``train/height``, ``train/width`` (pixels) and
    ``train/batch_size`` (images per rank) in the message hub, so that they are in the
    log, and in ``vis_data/sizes.json`` beside MMEngine's ``scalars.json``. Once an
    epoch it logs how many images and boxes each size has lost, summed over the ranks.

    Args:
        lr_scaling: Scale the learning rate of an iteration with its batch size relative
            to the base one: ``'none'`` (as published), ``'sqrt'`` or ``'linear'``. See
            :class:`~mms_plugin.multi_scale.batch_lr_scaling.BatchLrScaling`. Defaults
            to ``'none'``.

    Raises:
        ValueError: An argument is not valid, the training has another sampler, or
            there are two of these hooks.
    """

    # Before ParamSchedulerHook, whose schedulers continue from the rate that they find,
    # and IterTimerHook, which begins at the iteration that a training is resumed at.
    priority = "ABOVE_NORMAL"

    def __init__(self, lr_scaling: str = "none") -> None:
        self._lr_scaling = BatchLrScaling(lr_scaling)
        self._checkpoint = SamplerCheckpoint()
        self._length = TrainingLength()
        self._log = SizeLog()
        self._losses = SizeLossLog()
        self._size_check = ImageSizeCheck()
        self._sampler: Optional[MultiScaleVariableBatchSampler] = None

    @property
    def lr_scaling(self) -> str:
        """How the learning rate follows the batch size."""
        return self._lr_scaling.rule

    def before_run(self, runner: Runner) -> None:
        """Set up the sampler, ``max_iters`` and the schedulers."""
        loop = built_train_loop(runner)
        if loop is None:  # validation or test only
            return
        sampler = self._sampler_of(loop)
        self._check_only_one(runner)
        if sampler is self._sampler:  # trained a second time
            return
        self._sampler = sampler
        assumed = 0 if loop_counts_iterations(loop) else len(loop.dataloader)
        self.set_up_sampler(loop, sampler)
        if loop_counts_iterations(loop):
            self._length.remember_times(runner)
        else:
            self._length.correct(runner, sampler, assumed)

    def set_up_sampler(
        self, loop: BaseLoop, sampler: MultiScaleVariableBatchSampler
    ) -> None:
        """Change the sampler's settings before the first iteration, if needed."""

    def _check_only_one(self, runner: Runner) -> None:
        names = [
            type(hook).__name__
            for hook in runner.hooks
            if isinstance(hook, MultiScaleSamplerHook)
        ]
        if len(names) > 1:
            raise ValueError(
                f"custom_hooks has {len(names)} hooks of the multi-scale sampler, "
                f"{' and '.join(names)}: leave one. ResolutionCurriculumHook does all "
                "that MultiScaleSamplerHook does"
            )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the sampler's place into the checkpoint."""
        loop = built_train_loop(runner)
        if loop is not None:
            self._checkpoint.save(checkpoint, loop, self._sampler_of(loop))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the sampler's place, should the training be resumed."""
        self._checkpoint.remember(checkpoint)

    def before_train(self, runner: Runner) -> None:
        """Continue at the place in the training that was resumed from."""
        loop = runner.train_loop
        sampler = self._sampler_of(loop)
        inner = sampler.inner_sampler
        if loop.iter and not resumes_exactly(inner):
            runner.logger.warning(
                f"{type(inner).__name__} draws with a state that is in no checkpoint: "
                "the images from here on are not those of an uninterrupted training"
            )
        recount = self._checkpoint.resume(loop, sampler)
        if recount is not None:
            self._length.count_from(runner, *recount)
        elif loop.iter:
            saved = self._checkpoint.saved_iters
            if saved not in (None, loop.max_iters):
                self._length.keep_times(runner, saved)
        check_ranks_agree(sampler)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the epoch, and log which sizes it draws from."""
        self._losses.start(runner)
        loop = runner.train_loop
        if loop_counts_iterations(loop):
            return
        sampler = self._sampler_of(loop)
        sampler.set_epoch(runner.epoch)
        drawn = sampler.sizes_of_epoch(runner.epoch)
        self._log.sizes(runner, drawn, f"Epoch {runner.epoch + 1}")

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Record the batch's size, seed the model, scale the learning rate."""
        loop = runner.train_loop
        sampler = self._sampler_of(loop)
        if loop_counts_iterations(loop):
            drawn = sampler.sizes_of_iteration(runner.iter)
            self._log.sizes(runner, drawn, f"Iteration {runner.iter + 1}")
        if sampler.endless:
            batch = sampler.batch_at_iteration(runner.iter)
            shared = batch[2]
        else:
            epoch = runner.epoch
            if loop_counts_iterations(loop):
                epoch = sampler.epoch_of(runner.iter)
            # Within a resumed epoch, batch_idx begins at 0.
            position = runner.iter - sampler.iterations_before(epoch)
            batch = sampler.batch_at(epoch, position)
            shared = sampler.shared_batch_size(epoch, position)
        self._log.batch(runner, batch)
        self._size_check(runner, batch[:2], data_batch)
        seed_iteration(runner, sampler.seed)
        # Not by this rank's own batch: the weights of all ranks must stay equal.
        self._lr_scaling.scale(runner, shared / sampler.batch_size)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Restore the learning rate; log what the sizes of a pass have lost."""
        self._lr_scaling.restore()
        loop = runner.train_loop
        if not loop_counts_iterations(loop) or runner.iter + 1 == loop.max_iters:
            return  # logged at the end of the epoch
        sampler, done = self._sampler_of(loop), runner.iter + 1
        if sampler.endless:  # about once a pass over the dataset
            # Its length is that of one rank which reads the whole dataset.
            if done % max(math.ceil(len(sampler) / get_world_size()), 1) == 0:
                self._losses.log(runner, f"Iteration {done}")
        elif sampler.epoch_of(done) != sampler.epoch_of(done - 1):
            self._losses.log(runner, f"Epoch {sampler.epoch_of(done)}")

    def after_train_epoch(self, runner: Runner) -> None:
        """Log what each size has lost of the dataset."""
        if loop_counts_iterations(runner.train_loop):
            self._losses.log(runner, f"Iteration {runner.iter}")
        else:
            self._losses.log(runner, f"Epoch {runner.epoch + 1}")

    def _sampler_of(self, loop: BaseLoop) -> MultiScaleVariableBatchSampler:
        return required_sampler(loop, type(self).__name__)
