"""The hook that lets the resolutions grow over a training."""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence, Union

from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop

from ..multi_scale.curriculum import ResolutionCurriculum
from ..multi_scale.multi_scale_variable_batch_sampler import (
    MultiScaleVariableBatchSampler,
)
from ..multi_scale.runner_parts import loop_counts_iterations
from ..utils.main_process_warning import warn_on_main_process
from .multi_scale_sampler_hook import MultiScaleSamplerHook


@HOOKS.register_module()
class ResolutionCurriculumHook(MultiScaleSamplerHook):
    """Grow the sizes that :class:`MultiScaleVariableBatchSampler` draws from.

    Multi-scale variable-batch sampling with a curriculum (MSc-VBSWC). Everything else,
    such as exact resume, ``runner.max_iters``, schedulers and the log, is as in
    :class:`MultiScaleSamplerHook`.

    At the end of an epoch (with ``IterBasedTrainLoop``, of a pass over the dataset) it
    logs what each size has lost: objects below ``min_box_side``, and images without any
    left.

    Source: arXiv 2309.04502, section 3.2; CoreNet.

    Args:
        schedule: ``'constant'``, ``'linear'``, ``'cosine'``, ``'step'`` or a callable
            from the fraction of the time from ``begin`` to ``end`` that has passed to
            the growth, both 0 to 1. See :class:`ResolutionCurriculum`. Defaults to
            ``'linear'``.
        start_sizes: Sizes drawn from at the start, within the range of the sampler's.
            Defaults to its smallest quarter.
        begin: Fraction of the training at which the sizes begin to grow. Defaults to 0.
        end: Fraction of the training from which on ``end_sizes`` are drawn. Defaults to
            0.8.
        milestones: For ``'step'``, fractions of the training, ascending. Defaults to
            four at equal distances from ``begin`` to ``end``.
        by_epoch: Grow at the start of epochs. ``False``: within an epoch too. Without
            effect where the sampler has no end: then it grows with the iterations.
            Defaults to ``True``.
        lr_scaling: See :class:`MultiScaleSamplerHook`. Defaults to ``'none'``.
        end_sizes: Sizes drawn from at the end, within the range of the sampler's, such
            as the base size only. Defaults to all of the sampler's.

    Raises:
        ValueError: An argument is not valid, or the training has another sampler.
    """

    def __init__(
        self,
        schedule: Union[str, Callable[[float], float]] = "linear",
        start_sizes: Any = None,
        begin: float = 0.0,
        end: float = 0.8,
        milestones: Optional[Sequence[float]] = None,
        by_epoch: bool = True,
        lr_scaling: str = "none",
        end_sizes: Any = None,
    ) -> None:
        super().__init__(lr_scaling)
        self.curriculum = ResolutionCurriculum(
            schedule, start_sizes, begin, end, milestones, by_epoch, end_sizes
        )

    def set_up_sampler(
        self, loop: BaseLoop, sampler: MultiScaleVariableBatchSampler
    ) -> None:
        """Give the sampler the curriculum."""
        if not loop_counts_iterations(loop):
            sampler.set_curriculum(self.curriculum, max_epochs=loop.max_epochs)
            return
        sampler.set_curriculum(self.curriculum, max_iters=loop.max_iters)
        # It was made with the loop, and its workers may have drawn ahead.
        loop.dataloader_iterator = type(loop.dataloader_iterator)(loop.dataloader)

    def before_train(self, runner: Runner) -> None:
        """Warn of settings without effect; continue where the training stood."""
        loop = runner.train_loop
        remaining = loop.max_epochs - loop.epoch
        if loop_counts_iterations(loop):
            remaining = loop.max_iters - loop.iter
        sampler = self._sampler_of(loop)
        text = sampler.explain_curriculum() if remaining > 0 else None
        if text is not None:
            warn_on_main_process(text)
        super().before_train(runner)
