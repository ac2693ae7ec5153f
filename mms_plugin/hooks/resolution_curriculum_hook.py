"""The hook that lets the resolutions grow, and keeps the books of a training."""

from __future__ import annotations

from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop

from ..checkpoints.resumed_iterator import ResumedIterator
from ..multi_scale.curriculum import ResolutionCurriculum
from ..multi_scale.multi_scale_variable_batch_sampler import (
    MultiScaleVariableBatchSampler,
)
from ..multi_scale.runner_parts import (
    built_train_loop,
    multi_scale_sampler,
    plain_optim_wrappers,
)
from ..multi_scale.schedule_bookkeeping import epoch_map, retime_schedulers, times_of
from ..utils.main_process_warning import warn_on_main_process
from ..utils.random_state import mixed_seed, set_seeds

SAMPLER_STATE = "multi_scale_sampler"
"""Where a checkpoint holds the sampler's place in the training."""

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

    A training that is resumed, at an epoch's end or within an epoch, goes on with the
    batches that were left, and loads none of those before: the place is in the
    checkpoint. What the model draws at random (dropout, RoI sampling) is seeded by the
    iteration, so that it is what an uninterrupted training would have drawn. With
    another world size or batch size the rest of the epoch is planned anew, and
    iterations count as if all had been made in the current settings
    (``IterBasedTrainLoop`` keeps its count).

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
        ValueError: An argument is not valid; a training without the sampler.
    """

    # Before ParamSchedulerHook, whose schedulers go on from the rate that they find,
    # and IterTimerHook, which begins at the iteration that a training is resumed at.
    priority = "ABOVE_NORMAL"

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
        self._loaded: Optional[Dict[str, Any]] = None
        self._loaded_info: Dict[str, Any] = {}
        self._times: List[Tuple[Sequence, List[Dict[str, Any]]]] = []

    def before_run(self, runner: Runner) -> None:
        """Set the curriculum, ``max_iters`` and the schedules by iteration."""
        loop = built_train_loop(runner)
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
        # Loading a checkpoint puts the schedulers' old times in their place.
        self._times = [
            (schedulers, [times_of(s) for s in schedulers])
            for schedulers, _ in _scheduler_lists(runner)
        ]

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the sampler's place into the checkpoint."""
        loop = built_train_loop(runner)
        if loop is None:
            return
        meta = checkpoint["meta"]
        epoch = None if _counts_iterations(loop) else meta["epoch"]
        state = _sampler_of(loop).state_at(meta["iter"], epoch)
        checkpoint[SAMPLER_STATE] = state

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember the sampler's place, should the training be resumed."""
        self._loaded = checkpoint.get(SAMPLER_STATE)
        hub = checkpoint.get("message_hub") or {}
        self._loaded_info = dict(hub.get("runtime_info") or {})

    def before_train(self, runner: Runner) -> None:
        """Go to the place in the training that was resumed from."""
        loop = runner.train_loop
        sampler = _sampler_of(loop)
        self._warn_without_effect(loop)
        state, self._loaded = self._loaded, None
        if loop.iter == 0:  # not resumed, though weights may have been loaded
            sampler.resume(0, None if sampler.endless else 0)
            return
        if _counts_iterations(loop):
            sampler.resume(loop.iter, None, state)
            loop.dataloader_iterator = ResumedIterator(
                loop.dataloader,
                type(loop.dataloader_iterator),
                skip=loop.iter,
                epoch=0 if sampler.endless else sampler.epoch_of(loop.iter),
            )
            return
        saved = state
        if state is None and self._ended_another_epoch(loop):
            whole = sampler.iterations_before(loop.epoch)
            state = sampler.state_at(whole, loop.epoch)
        reason = _reason(sampler, saved)
        done = sampler.resume(loop.iter, loop.epoch, state)
        if done != loop.iter:
            self._count_from(runner, done, reason)

    def _warn_without_effect(self, loop: BaseLoop) -> None:
        """Warn of settings of the curriculum that have no effect in this training."""
        remaining = loop.max_epochs - loop.epoch
        if _counts_iterations(loop):
            remaining = loop.max_iters - loop.iter
        text = _sampler_of(loop).explain_curriculum() if remaining > 0 else None
        if text is not None:
            warn_on_main_process(text)

    def _ended_another_epoch(self, loop: BaseLoop) -> bool:
        """Whether a training without the hook, in other batches, ended an epoch."""
        iters, epochs = (self._loaded_info.get(k) for k in ("max_iters", "max_epochs"))
        if not iters or not epochs or iters == loop.max_iters:
            return False
        ended: bool = loop.iter * epochs == loop.epoch * iters
        return ended

    def _count_from(self, runner: Runner, done: int, reason: str) -> None:
        """Count iterations as the current settings do, ``done`` of them being done."""
        loop = runner.train_loop
        runner.logger.warning(
            f"The {loop.iter} iterations of the checkpoint count as {done}, since the "
            f"epochs have another number of iterations now: {reason}. The learning "
            "rate stays as configured."
        )
        for schedulers, times in self._times:
            for scheduler, own in zip(schedulers, times):
                if scheduler.by_epoch:
                    continue
                state = {**scheduler.state_dict(), **own}
                for place in ("last_step", "_global_step"):
                    state[place] += done - loop.iter
                scheduler.load_state_dict(state)
        loop._iter = done
        runner.message_hub.update_info("iter", done)
        runner.optim_wrapper.initialize_count_status(runner.model, done, loop.max_iters)

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
            # Within a resumed epoch, batch_idx begins at 0.
            position = runner.iter - sampler.iterations_before(runner.epoch)
            height, width, batch_size = sampler.batch_at(runner.epoch, position)
        scalars = {
            "train/height": height,
            "train/width": width,
            "train/batch_size": batch_size,
        }
        for key, value in scalars.items():
            runner.message_hub.update_scalar(key, value)
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)
        rank = get_rank() if _differs_by_rank(runner) else 0
        set_seeds(mixed_seed(sampler.seed, runner.iter, rank))
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
        for wrapper in plain_optim_wrappers(runner.optim_wrapper):
            for group in wrapper.optimizer.param_groups:
                self._unscaled.append((group, group["lr"]))
                group["lr"] = group["lr"] * scale

    def _log_sizes(self, runner: Runner, drawn: Tuple, when: str) -> None:
        if drawn == self._last_sizes:
            return
        self._last_sizes = drawn
        names = ", ".join(f"{height}x{width}" for height, width in drawn)
        runner.logger.info(f"{when}: drawing from {len(drawn)} sizes: {names}")


def _sampler_of(loop: BaseLoop) -> MultiScaleVariableBatchSampler:
    sampler = multi_scale_sampler(loop.dataloader)
    if sampler is None:
        got = type(getattr(loop.dataloader, "batch_sampler", None)).__name__
        raise ValueError(
            "ResolutionCurriculumHook needs the multi-scale batch sampler: set "
            "train_dataloader.batch_sampler=dict(type='MultiScaleVariableBatchSampler',"
            f" base_size=..., sizes=[...]), but got {got}"
        )
    return sampler


def _reason(
    sampler: MultiScaleVariableBatchSampler, state: Optional[Mapping[str, Any]]
) -> str:
    """Say why the epochs of a resumed training have another length.

    Args:
        sampler: In the current settings.
        state: Of the sampler, in the checkpoint. ``None``: it holds none.
    """
    if state is None:
        return "the checkpoint was saved without ResolutionCurriculumHook"
    changes = sampler.changes_since(state)
    if "settings" not in state:
        # Of a version that recorded the world size and the number of samples only.
        changes.append(
            "the checkpoint does not record the batch sizes, the sizes and the "
            "curriculum with its max_epochs, which may have changed"
        )
    elif not changes:
        return (
            "no recorded setting has changed, so a callable schedule or the sampler "
            "itself plans otherwise"
        )
    return "; ".join(changes)


def _differs_by_rank(runner: Runner) -> bool:
    # As MMEngine has it: by default all ranks draw the same numbers.
    randomness = getattr(runner, "_randomness_cfg", None) or {}
    return bool(randomness.get("diff_rank_seed", False))


def _counts_iterations(loop: BaseLoop) -> bool:
    return isinstance(loop, IterBasedTrainLoop)


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
