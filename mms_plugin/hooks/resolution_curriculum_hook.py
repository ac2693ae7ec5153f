"""The hook that lets the resolutions grow, and keeps the books of a training."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from mmengine.hooks import Hook
from mmengine.optim import OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop

from ..sampling import MultiScaleVariableBatchSampler, ResolutionCurriculum
from .schedule_bookkeeping import epoch_map, retime_schedulers

LR_SCALINGS: Dict[str, float] = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}
"""Exponent of the batch size, relative to the base one, in the learning rate."""


@HOOKS.register_module()
class ResolutionCurriculumHook(Hook):
    """Grows the sizes that :class:`MultiScaleVariableBatchSampler` draws from.

    Multi-scale variable-batch sampling with a curriculum (MSc-VBSWC). Before the first
    iteration it gives the sampler the curriculum and corrects what MMEngine worked out
    for epochs of equal length: ``runner.max_iters`` (with it the progress in the log
    and the ETA) and the times of parameter schedulers that were converted to
    iterations or end with the training. Schedulers by epoch stay as they are.

    In each iteration it records ``train/height``, ``train/width`` (pixels) and
    ``train/batch_size`` (images per rank) in the message hub, so that they stand in the
    log, and as scalars in the visualizer.

    Source: arXiv 2309.04502, section 3.2; CoreNet.

    Args:
        schedule: ``'constant'``, ``'linear'``, ``'cosine'``, ``'step'`` or a callable
            from the part of the growth's time that has passed, 0 to 1, to the growth,
            0 to 1. See :class:`ResolutionCurriculum`.
        start_sizes: Sizes drawn from at the start, within the range of the sampler's.
            ``None``: its smallest quarter.
        begin: Fraction of the training at which the sizes begin to grow.
        end: Fraction of the training from which on ``end_sizes`` are drawn.
        milestones: For ``'step'``, fractions of the training, ascending.
        by_epoch: Grow at the start of epochs. ``False``: within an epoch too. Without
            effect where the sampler has no end: then it grows with the iterations.
        lr_scaling: Scale an iteration's learning rate with its batch size relative to
            the base one: ``'none'`` (as published), ``'sqrt'`` or ``'linear'``. With
            gradient accumulation the mean over the accumulated batches counts.
            Schedulers and logs see the unscaled rate.
        end_sizes: Sizes drawn from at the end, within the range of the sampler's, for
            a training that ends at its base size, say. ``None``: the sampler's, all
            of them.

    Raises:
        ValueError: An argument that cannot be; a training without the sampler.
    """

    # Before ParamSchedulerHook, whose schedulers go on from the rate that they find.
    priority = "NORMAL"

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
        self.curriculum = ResolutionCurriculum(
            schedule, start_sizes, begin, end, milestones, by_epoch, end_sizes
        )
        if lr_scaling not in LR_SCALINGS:
            raise ValueError(
                f"lr_scaling must be one of {list(LR_SCALINGS)}, but got {lr_scaling!r}"
            )
        self.lr_scaling = lr_scaling
        self._accumulated: List[float] = []
        self._unscaled: List[Tuple[dict, Any]] = []
        self._last_sizes: Tuple = ()

    def before_run(self, runner: Runner) -> None:
        """Set the curriculum, ``max_iters`` and the schedules by iteration."""
        loop = _built_train_loop(runner)
        if loop is None:  # validation or test alone
            return
        sampler = _sampler_of(loop)
        if sampler.curriculum is self.curriculum:  # trained once more
            return
        if _counts_iterations(loop):
            sampler.set_curriculum(self.curriculum, max_iters=loop.max_iters)
            # Made with the loop, it may have drawn ahead for its workers.
            loop.dataloader_iterator = type(loop.dataloader_iterator)(loop.dataloader)
            return
        assumed_length = len(loop.dataloader)
        sampler.set_curriculum(self.curriculum, max_epochs=loop.max_epochs)
        loop._max_iters = sampler.total_batches(loop.max_epochs)
        for schedulers, configs in _scheduler_lists(runner):
            retime_schedulers(
                schedulers,
                configs,
                epoch_map(sampler.iterations_before),
                loop.max_epochs,
                assumed_length,
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Go to the epoch, and say which sizes it draws from."""
        loop = runner.train_loop
        if _counts_iterations(loop):
            return
        sampler = _sampler_of(loop)
        sampler.set_epoch(runner.epoch)
        drawn = sampler.sizes_of_epoch(runner.epoch)
        self._log_sizes(runner, drawn, f"Epoch {runner.epoch + 1}")

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Record the batch's size, and scale the learning rate by it."""
        loop = runner.train_loop
        sampler = _sampler_of(loop)
        if _counts_iterations(loop):
            height, width, batch_size = sampler.batch_at_iteration(runner.iter)
            drawn = sampler.sizes_of_iteration(runner.iter)
            self._log_sizes(runner, drawn, f"Iteration {runner.iter + 1}")
        else:
            height, width, batch_size = sampler.batch_at(runner.epoch, batch_idx)
        scalars = {
            "train/height": height,
            "train/width": width,
            "train/batch_size": batch_size,
        }
        for key, value in scalars.items():
            runner.message_hub.update_scalar(key, value)
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)
        if self.lr_scaling != "none":
            self._scale_lr(runner, batch_size / sampler.batch_size)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Put the learning rate back for the schedulers."""
        for group, lr in self._unscaled:
            group["lr"] = lr
        self._unscaled = []

    def _scale_lr(self, runner: Runner, relative_batch_size: float) -> None:
        accumulated = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
        if runner.iter % accumulated == 0:
            self._accumulated = []
        self._accumulated.append(relative_batch_size)
        mean = sum(self._accumulated) / len(self._accumulated)
        scale = mean ** LR_SCALINGS[self.lr_scaling]
        for group in _param_groups(runner.optim_wrapper):
            self._unscaled.append((group, group["lr"]))
            group["lr"] = group["lr"] * scale

    def _log_sizes(self, runner: Runner, drawn: Tuple, when: str) -> None:
        if drawn == self._last_sizes:
            return
        self._last_sizes = drawn
        names = ", ".join(f"{height}x{width}" for height, width in drawn)
        runner.logger.info(f"{when}: drawing from {len(drawn)} sizes: {names}")


def _built_train_loop(runner: Runner) -> Optional[BaseLoop]:
    # Not the property: it would build the loop, and the training data, for a test.
    loop = runner._train_loop
    return loop if isinstance(loop, BaseLoop) else None


def _sampler_of(loop: BaseLoop) -> MultiScaleVariableBatchSampler:
    sampler = getattr(loop.dataloader, "batch_sampler", None)
    if not isinstance(sampler, MultiScaleVariableBatchSampler):
        raise ValueError(
            "ResolutionCurriculumHook needs the sampler that it grows: set "
            "train_dataloader.batch_sampler=dict(type='MultiScaleVariableBatchSampler',"
            f" base_size=..., sizes=[...]), but got {type(sampler).__name__}"
        )
    return sampler


def _counts_iterations(loop: BaseLoop) -> bool:
    return isinstance(loop, IterBasedTrainLoop)


def _param_groups(optim_wrapper: Any) -> Iterator[dict]:
    wrappers = (
        optim_wrapper.values()
        if isinstance(optim_wrapper, OptimWrapperDict)
        else [optim_wrapper]
    )
    for wrapper in wrappers:
        yield from wrapper.optimizer.param_groups


def _scheduler_lists(
    runner: Runner,
) -> Iterator[Tuple[Sequence, Optional[Sequence[dict]]]]:
    """The runner's schedulers with their configs, for each optimizer."""
    built = runner.param_schedulers
    if not built:
        return
    configs = runner.cfg.get("param_scheduler")
    if not isinstance(built, dict):
        yield built, _matching(built, configs)
        return
    for name, schedulers in built.items():
        own = configs
        if isinstance(configs, dict) and "type" not in configs:
            own = configs.get(name)
        yield schedulers, _matching(schedulers, own)


def _matching(schedulers: Sequence, configs: Any) -> Optional[Sequence[dict]]:
    """The configs, if they are those that the schedulers were built from."""
    configs = [configs] if isinstance(configs, dict) else configs
    if not isinstance(configs, (list, tuple)) or len(configs) != len(schedulers):
        return None
    for scheduler, config in zip(schedulers, configs):
        kind = config.get("type") if isinstance(config, dict) else None
        name = kind.rpartition(".")[2] if isinstance(kind, str) else None
        if kind is not type(scheduler) and name != type(scheduler).__name__:
            return None
    return configs
