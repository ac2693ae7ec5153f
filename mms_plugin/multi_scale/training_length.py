"""The length of a training whose epochs are not equally long."""

from __future__ import annotations

import math
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from mmengine.runner import FlexibleRunner, Runner

from ..utils.config_types import class_name
from .multi_scale_variable_batch_sampler import MultiScaleVariableBatchSampler
from .runner_parts import loop_counts_iterations
from .schedule_replay import replay_schedules
from .scheduler_times import (
    epoch_map,
    last_iteration,
    retime_schedulers,
    times_of,
)
from .size_log import append_to_sizes_file

__all__ = ["TrainingLength"]

# They are meant to last a number of iterations.
_WARMUPS = ("LinearLR", "ConstantLR", "QuadraticWarmupLR")


class TrainingLength:
    """Correct what MMEngine derives from epochs of equal length.

    For a loop that counts epochs: ``max_iters`` (with it the progress in the log and
    the ETA), and the times of parameter schedulers that were converted to iterations or
    end with the training. For any loop: the times of schedulers where a training is
    resumed with another length.
    """

    def __init__(self) -> None:
        self._times: List[Tuple[Sequence, List[Dict[str, Any]]]] = []
        self._sampler: Optional[MultiScaleVariableBatchSampler] = None

    def correct(
        self, runner: Runner, sampler: MultiScaleVariableBatchSampler, assumed: int
    ) -> None:
        """Correct the loop and the schedulers of a runner before its first iteration.

        Args:
            runner: Its train loop is built and counts epochs.
            sampler: Knows how long every epoch is.
            assumed: Iterations of each epoch, as MMEngine assumed.
        """
        loop = runner.train_loop
        self._sampler = sampler
        loop._max_iters = sampler.total_batches(loop.max_epochs)
        for schedulers, configs in _scheduler_lists(runner):
            retime_schedulers(
                schedulers,
                configs,
                epoch_map(sampler.iterations_before),
                loop.max_epochs,
                assumed,
            )
            self._warn_of_late_times(runner, sampler, schedulers, configs)
        # FlexibleRunner has told its wrapper before the hooks are asked.
        if isinstance(runner, FlexibleRunner):
            _count_iterations(runner, loop.iter)
        self.remember_times(runner)

    def remember_times(self, runner: Runner) -> None:
        """Note the times of the schedulers, which those of a checkpoint replace."""
        self._times = [
            (schedulers, [times_of(s) for s in schedulers])
            for schedulers, _ in _scheduler_lists(runner)
        ]

    def _warn_of_late_times(
        self,
        runner: Runner,
        sampler: MultiScaleVariableBatchSampler,
        schedulers: Sequence,
        configs: Optional[Sequence[dict]],
    ) -> None:
        """Warn of schedulers that were set for epochs at a fixed size."""
        epoch = math.ceil(len(sampler.inner_sampler) / sampler.batch_size)
        at_fixed_size = runner.train_loop.max_epochs * epoch
        for scheduler, config in zip(schedulers, configs or [{}] * len(schedulers)):
            if config.get("convert_to_iter_based", False):
                continue
            last = last_iteration(scheduler)
            if not runner.max_iters < last <= at_fixed_size:
                continue
            remedy = "Let it count epochs, with convert_to_iter_based=True."
            if type(scheduler).__name__ in _WARMUPS:
                remedy = "As a warm-up it never ends: lower its end."
            runner.logger.warning(
                f"{type(scheduler).__name__} counts iterations and is set to iteration "
                f"{last}, but the training has {runner.max_iters}, fewer than the "
                f"{at_fixed_size} at a fixed size. {remedy}"
            )

    def count_from(self, runner: Runner, done: int, reason: str) -> None:
        """Count the iterations of a resumed training as the current settings do.

        The learning rate becomes that of its schedule at this place.

        Args:
            runner: It has loaded its checkpoint.
            done: Iterations that are done, in the current settings.
            reason: Why the checkpoint has another number, for the log.
        """
        loop = runner.train_loop
        runner.logger.warning(
            f"The {loop.iter} iterations of the checkpoint count as {done}, since the "
            f"epochs have another number of iterations now: {reason}. The learning "
            "rate is not scaled for the new settings."
        )
        self._restart_schedules(runner, done)
        # Lets readers of the log join it with the previous run's.
        append_to_sizes_file(runner, {"train/resumed_at": loop.iter, "step": done})
        loop._iter = done
        runner.message_hub.update_info("iter", done)
        _count_iterations(runner, done)

    def keep_times(self, runner: Runner, saved_iters: int) -> None:
        """Let the schedules of a resumed training be those of its config.

        The learning rate becomes that of its schedule at this place.

        Args:
            runner: It has loaded its checkpoint, with the times of its schedulers.
            saved_iters: Iterations of the whole training, by the checkpoint.
        """
        runner.logger.info(
            f"The training has {runner.max_iters} iterations in these settings, "
            f"{saved_iters} in those of the checkpoint: the schedules are those of "
            "these settings"
        )
        self._restart_schedules(runner, runner.iter)

    def _restart_schedules(self, runner: Runner, done: int) -> None:
        """Restore the schedulers' times, and put them where iteration ``done`` is."""
        starts = [0]
        if not loop_counts_iterations(runner.train_loop):
            assert self._sampler is not None  # set by correct
            epochs = range(runner.epoch + 1)
            starts = [self._sampler.iterations_before(epoch) for epoch in epochs]
        lengths = [stop - start for start, stop in zip(starts, starts[1:])]
        for schedulers, times in self._times:
            for scheduler, own in zip(schedulers, times):
                if getattr(scheduler, "need_val_args", False):
                    # ReduceOnPlateauLR keeps what it has seen of the metrics.
                    own = {key: own[key] for key in ("begin", "end")}
                scheduler.load_state_dict({**scheduler.state_dict(), **own})
            followed = replay_schedules(schedulers, lengths, done - starts[-1])
            if schedulers and not followed:
                runner.logger.warning(
                    "The learning rate stays that of the checkpoint, since a "
                    "scheduler follows the metrics of the validation"
                )


def _count_iterations(runner: Runner, done: int) -> None:
    """Tell the optimizer wrapper how many iterations are done, and how many there are.

    The wrapper divides the losses of a last, incomplete accumulation by the number of
    iterations that remain. DeepSpeed's has no such method.
    """
    wrapper = runner.optim_wrapper
    if hasattr(wrapper, "initialize_count_status"):
        wrapper.initialize_count_status(runner.model, done, runner.max_iters)


def _scheduler_lists(
    runner: Runner,
) -> Iterator[Tuple[Sequence, Optional[Sequence[dict]]]]:
    """Yield the runner's schedulers with their configs, for each optimizer."""
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
    """Return the configs, if they are those that the schedulers were built from."""
    configs = [configs] if isinstance(configs, dict) else configs
    if not isinstance(configs, (list, tuple)) or len(configs) != len(schedulers):
        return None
    for scheduler, config in zip(schedulers, configs):
        kind = config.get("type") if isinstance(config, dict) else None
        if class_name(kind) != type(scheduler).__name__:
            return None
    return configs
