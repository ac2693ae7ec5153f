"""The hook that tries every size of a training before it starts."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import List, Optional

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..checkpoints.training_state import kept_training_state
from ..dry_run.data_parallel import (
    check_model,
    finds_unused_parameters,
    without_gradient_exchange,
)
from ..dry_run.recompile_limit import compiled_shapes, raised_limits
from ..dry_run.trial import Trial
from ..dry_run.trial_batches import (
    IMAGES,
    choose_batches,
    load_batches,
    training_points,
)
from ..dry_run.trial_updates import stop_learning
from ..multi_scale.runner_parts import built_train_loop
from ..utils.rank_agreement import RankAgreement
from ..utils.validation import is_number


@HOOKS.register_module()
class DryRunHook(Hook):
    """Run one training iteration of every size before the training starts.

    A size that does not fit into the memory fails then, not when it is first drawn,
    and the caches of cuDNN and of the allocator are filled. All sizes that the training
    can draw are run, start sizes of a curriculum included, each with its full batch,
    the most expensive first. An iteration is the training's own (compiled, in mixed
    precision, accumulated as configured), and includes the optimizer's step, which
    allocates the optimizer's state. The first iteration runs twice, the second time
    with that state.

    The training is the same, to the bit, with the hook and without. Weights, buffers,
    gradients, optimizer and loss scaler, AGVM, counters, message hub and random states
    are restored (see :func:`kept_training_state`; the copies take host memory, no
    device memory). The images come from a data loader with one worker process, whose
    copy of the dataset leaves the training's untouched.

    With several processes, all run the same sizes in the same order. Gradients are not
    exchanged (except once, at the end, with ``find_unused_parameters``). If a rank
    runs out of memory, all ranks stop with its error. A rank that waits for it in a
    collective of the model's own (SyncBN, a mean over the ranks in a loss) cannot be
    told: after ``grace`` seconds the failed rank ends with its error, and the launcher
    ends the others.

    With ``compile`` set in the config it raises Dynamo's limit of recompilations by the
    number of shapes, for the whole process, until the run ends (for good if the
    training itself ends with an error).

    With another batch sampler one batch is tried, of ``train_dataloader.batch_size``
    images.

    Args:
        images: ``'worst'``: the images that pad a batch most, as a wide and a tall one
            together do with ``keep_ratio``, and those with the most objects; a size
            whose batch is too small for both runs twice. It reads the records of
            MMEngine's datasets once; where they hold neither width and height nor
            ``instances`` it is ``'spread'``. ``'spread'``: at equal distances over the
            dataset. ``'most_instances'``: those with the most objects, which take
            memory in detection; needs MMEngine's datasets, whose records are all read
            once. Defaults to ``'worst'``.
        grace: Seconds that a failed rank waits for the others to take note. Defaults
            to 30.

    Raises:
        ValueError: A batch does not fit into the memory (names the size, the batch
            size, the rank, and what to change); an argument is not valid; a model
            that shards its weights (FSDP, DeepSpeed, ColossalAI), or whose
            ``DistributedDataParallel`` has ``static_graph=True``.
        RuntimeError: An iteration fails for another reason.
    """

    # After the hooks that set up the model, the epoch and the curriculum.
    priority = "LOWEST"

    def __init__(self, images: str = "worst", grace: float = 30.0) -> None:
        if images not in IMAGES:
            raise ValueError(
                f"images must be one of {list(IMAGES)}, but got {images!r}"
            )
        if not is_number(grace) or not 0 <= grace < math.inf:
            raise ValueError(
                f"grace must be a number of seconds of at least 0, but got {grace!r}"
            )
        self.images = images
        self.grace = float(grace)
        self._runs = 0
        self._settings = ExitStack()

    def before_run(self, runner: Runner) -> None:
        """With ``compile``, raise Dynamo's limit by the number of shapes."""
        loop = built_train_loop(runner)
        if loop is None or runner.cfg.get("compile") in (None, False):
            return
        shapes = compiled_shapes(loop)
        limits = raised_limits(shapes)
        from torch._dynamo import config

        self._settings.enter_context(config.patch(limits))
        text = ", ".join(f"{name}={value}" for name, value in limits.items())
        runner.logger.info(f"Dynamo, for {shapes} shapes of batches: {text}")

    def after_run(self, runner: Runner) -> None:
        """Restore Dynamo's limit."""
        self._settings.close()

    def before_train(self, runner: Runner) -> None:
        """Run the iterations."""
        try:
            self._run_iterations(runner)
        except BaseException:
            self._settings.close()  # MMEngine then does not call after_run
            raise

    def _run_iterations(self, runner: Runner) -> None:
        check_model(runner.model)
        names = [f"dry_run/{runner.experiment_name}/{runner.timestamp}/{self._runs}"]
        self._runs += 1
        # A config may name the experiment otherwise on every rank, by its host.
        broadcast_object_list(names)
        ranks = RankAgreement.of_process_group(names[0], self.grace)
        began = time.perf_counter()
        with kept_training_state(
            runner.model, runner.optim_wrapper, runner.message_hub
        ):
            peaks = self._run(runner, ranks)
        text = f"Dry run: {len(peaks)} kinds of batches in "
        text += f"{time.perf_counter() - began:.1f} s"
        known = [peak for peak in peaks if peak is not None]
        if known:
            text += f", {max(known) / 1e9:.2f} GB at the peak"
        runner.logger.info(f"{text}; the training's state is as it was")

    def _run(self, runner: Runner, ranks: RankAgreement) -> List[Optional[int]]:
        """Run all iterations; return the bytes that each trial took at the peak."""
        loader = runner.train_loop.dataloader
        runner.model.train()
        stop_learning(runner.optim_wrapper)
        chosen = choose_batches(loader, training_points(loader), self.images)
        batches = iter(load_batches(loader, chosen))
        peaks = []
        for number, (point, _) in enumerate(chosen, start=1):
            trial = Trial(runner, point)
            with without_gradient_exchange(runner.model):
                trial.run(batches, times=2 if number == 1 else 1)
            _raise_on_all_ranks(ranks, trial)
            trial.log(number, len(chosen))
            peaks.append(trial.peak)
        del batches
        if finds_unused_parameters(runner.model):
            trial.run_with_all_gradients()
            _raise_on_all_ranks(ranks, trial)
        return peaks


def _raise_on_all_ranks(ranks: RankAgreement, trial: Trial) -> None:
    """Let no rank continue if a trial has failed on one."""
    failure = ranks.meet(trial.failure)
    if failure is not None:
        raise trial.error(failure)
