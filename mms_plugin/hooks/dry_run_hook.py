"""The hook that tries every size of a training before it starts."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack, contextmanager
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
)

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, IterableDataset

from ..checkpoints.training_state import kept_training_state
from ..multi_scale.dry_run_plan import (
    NO_ROOM,
    DryRunPoint,
    chosen_images,
    points_of_training,
    recompilations,
    too_large,
    worst_batches,
)
from ..multi_scale.runner_parts import (
    built_train_loop,
    multi_scale_sampler,
    plain_optim_wrappers,
)
from ..multi_scale.sized_index import sized_index_class
from ..utils.device import device_module, free_cache, is_out_of_memory, run_measured
from ..utils.error_text import message_lines
from ..utils.rank_agreement import RankAgreement
from ..utils.validation import is_number

IMAGES = ("worst", "spread", "most_instances")
"""How the images of a dry run are chosen."""


@HOOKS.register_module()
class DryRunHook(Hook):
    """Runs one training iteration of every size before the training starts.

    Out of memory then shows at once, not when the size is first drawn; cuDNN's and the
    allocator's caches are filled. The sizes are all that the training can draw, start
    sizes of a curriculum included, each at its full batch, the largest cost first. An
    iteration is the training's own (compiled, in mixed precision, accumulated as
    configured), with the optimizer's step, so that its state counts; the first
    iteration runs twice, since only then that state is there from its beginning.

    Nothing of it stays: weights, buffers, gradients, optimizer and loss scaler, AGVM,
    counters, message hub and random states are put back (see
    :func:`~.training_state.kept_training_state`; the copies take host memory, no
    device memory), and the images come from a data loader of its own with one worker
    process, whose copy of the data set keeps the training's untouched. The training is
    the same, to the bit, with the hook and without.

    Of several processes all run the same sizes in the same order. Gradients are not
    exchanged meanwhile (once, at the end, with ``find_unused_parameters``). If a rank
    runs out of memory, all ranks stop with its error. A rank that waits for it in a
    collective of the model's own (SyncBN, a mean over the ranks in a loss) cannot be
    told: after ``grace`` seconds the failed rank ends with its error, and the launcher
    ends the others.

    With ``compile`` set in the config it raises Dynamo's limit of recompilations by the
    number of shapes, from the start of the run to its end: a setting of torch's that
    holds for the process.

    With another batch sampler there is one batch to try, of
    ``train_dataloader.batch_size`` images.

    Args:
        images: ``'worst'``: the images that pad a batch most, as a wide and a tall one
            together do with ``keep_ratio``, and those with the most objects; a size
            whose batch is too small for both runs twice. It reads the records of
            MMEngine's datasets once; where they hold neither width and height nor
            ``instances`` it is ``'spread'``. ``'spread'``: at equal distances over the
            dataset. Defaults to ``'worst'``.
            ``'most_instances'``: those with the most objects, which cost memory in
            detection; needs MMEngine's data sets, whose records are all read once.
        grace: Seconds that a failed rank waits for the others to take note.

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
        """With ``compile``, make the number of shapes known to Dynamo."""
        loop = built_train_loop(runner)
        if loop is None or not _compiles(runner):
            return
        sampler = multi_scale_sampler(loop.dataloader)
        epochs: int = loop.max_epochs  # type: ignore[attr-defined]
        if sampler is not None and sampler.endless:
            epochs = 0
        elif isinstance(loop, IterBasedTrainLoop):  # it counts one epoch
            epochs = math.ceil(loop.max_iters / len(loop.dataloader))
        shapes = recompilations(
            _points(loop.dataloader),
            epochs,
            getattr(loop.dataloader.batch_sampler, "drop_last", False),
        )
        limits = _raised_limits(shapes)
        from torch._dynamo import config

        self._settings.enter_context(config.patch(limits))
        text = ", ".join(f"{name}={value}" for name, value in limits.items())
        runner.logger.info(f"Dynamo, for {shapes} shapes of batches: {text}")

    def after_run(self, runner: Runner) -> None:
        """Put Dynamo's limit back."""
        self._settings.close()

    def before_train(self, runner: Runner) -> None:
        """Run the iterations."""
        loader = runner.train_loop.dataloader
        _check_model(runner.model)
        points = _points(loader)
        name = f"dry_run/{runner.experiment_name}/{runner.timestamp}/{self._runs}"
        self._runs += 1
        ranks = RankAgreement.of_process_group(name, self.grace)
        began = time.perf_counter()
        peaks: List[int] = []
        with kept_training_state(
            runner.model, runner.optim_wrapper, runner.message_hub
        ):
            runner.model.train()
            _prepare(runner.optim_wrapper)
            trials = _batches(loader, points, self.images)
            batches = iter(_loader(loader, trials))
            for number, (point, _) in enumerate(trials):
                trial = _Trial(runner, point)
                with _on_this_rank_alone(runner.model):
                    trial.run(batches, 2 if number == 0 else 1)
                _agree(ranks, trial)
                peaks += trial.log(number + 1, len(trials))
            del batches
            if _notes_used_parameters(runner.model):
                trial.run_with_all_gradients()
                _agree(ranks, trial)
        took = time.perf_counter() - began
        text = f"Dry run: {len(trials)} kinds of batches in {took:.1f} s"
        if peaks:
            text += f", {max(peaks) / 1e9:.2f} GB at the peak"
        runner.logger.info(f"{text}; the training's state is as it was")


class _Trial:
    """One batch size at one size: the iterations and what they took."""

    def __init__(self, runner: Runner, point: DryRunPoint) -> None:
        self.runner, self.point = runner, point
        self.device = str(next(runner.model.parameters()).device)
        self.module = device_module(self.device)
        self.failure: Optional[str] = None
        self.cause: Optional[Exception] = None
        self.batch: Any = None
        self.finite = True
        self.seconds = 0.0
        self.peak: Optional[int] = None

    def run(self, batches: Iterator[Any], times: int) -> None:
        def run() -> None:
            self.batch = next(batches)
            for _ in range(times):
                self._run_update(self.batch)

        self._try(run)

    def run_with_all_gradients(self) -> None:
        """One iteration more, with the ranks' exchange of gradients.

        ``find_unused_parameters`` notes what is used in any pass until gradients are
        next exchanged, and fails if such a parameter then has none.
        """

        def run() -> None:
            for param in self.runner.model.parameters():
                if param.requires_grad and param.grad is None:
                    param.grad = torch.zeros_like(param)
            wrappers = plain_optim_wrappers(self.runner.optim_wrapper)
            _set_counts(self.runner.optim_wrapper, _accumulated(wrappers) - 1)
            self._iterate(self.batch)

        self._try(run)

    def _try(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            self.failure = self._describe(error)
            if not is_out_of_memory(error):
                self.cause = error
        if self.failure is not None and self.cause is None:
            # Outside the handler, whose traceback holds the iteration's tensors.
            free_cache(self.module)

    def _run_update(self, batch: Any) -> None:
        """As many iterations as show an update's peak."""
        wrapper = self.runner.optim_wrapper
        first, count = _iterations_of_update(plain_optim_wrappers(wrapper))
        _set_counts(wrapper, first)
        peaks = []
        for _ in range(count):
            self.seconds, peak = run_measured(
                lambda: self._iterate(batch), self.module, time.perf_counter
            )
            peaks.append(peak)
        self.peak = max((peak for peak in peaks if peak is not None), default=None)

    def _iterate(self, batch: Any) -> None:
        model = self.runner.model
        logged = model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
        loss = logged.get("loss") if isinstance(logged, Mapping) else None
        if isinstance(loss, torch.Tensor):
            self.finite = self.finite and bool(loss.isfinite().all())

    def _describe(self, error: Exception) -> str:
        text = _first_line(error)
        # Its worker fills the host's memory, whatever the device.
        device = "the host" if self.batch is None else self.device
        where = f"{device}, rank {get_rank()}"
        if not is_out_of_memory(error):
            return f"an iteration of {self.point} fails on {where}: {text}"
        return too_large(
            self.point, _batch_size(self.runner.train_loop.dataloader), where, text
        )

    def log(self, number: int, of: int) -> List[int]:
        text = f"Dry run {number}/{of}: {self.point}: {self.seconds:.2f} s"
        if self.peak is not None:
            text += f", {self.peak / 1e9:.2f} GB at the peak"
        self.runner.logger.info(text)
        if not self.finite:
            self.runner.logger.warning(
                f"Dry run: the loss of {self.point} is not finite"
            )
        return [] if self.peak is None else [self.peak]


def _agree(ranks: RankAgreement, trial: _Trial) -> None:
    """Let no rank go on if one has failed."""
    failure = ranks.meet(trial.failure)
    if failure is not None:
        raise _error(failure, trial)


def _error(failure: str, trial: _Trial) -> Exception:
    text = f"Dry run: {failure}"
    if NO_ROOM in failure:
        return ValueError(text)
    error = RuntimeError(text)
    error.__cause__ = trial.cause
    return error


def _first_line(error: Exception) -> str:
    name = type(error).__name__
    text = (message_lines(str(error)) or [name])[0]
    return text if name in text else f"{name}: {text}"


def _compiles(runner: Runner) -> bool:
    compile_cfg = runner.cfg.get("compile")
    return compile_cfg is not None and compile_cfg is not False


def _raised_limits(shapes: int) -> Dict[str, int]:
    """Dynamo's limits, by the name that this torch has, with room for ``shapes``."""
    from torch._dynamo import config

    limits = {}
    for new, old in (
        ("recompile_limit", "cache_size_limit"),
        ("accumulated_recompile_limit", "accumulated_cache_size_limit"),
    ):
        for name in (new, old):
            if hasattr(config, name):
                limits[name] = getattr(config, name) + shapes
                break
    return limits


def _check_model(model: nn.Module) -> None:
    from ..utils.sharding import sharding_of

    strategy = sharding_of(model)
    if strategy is not None:
        raise ValueError(
            "DryRunHook restores whole weights and optimizer states, which "
            f"{strategy} shards over the processes: remove the hook"
        )
    for module in model.modules():
        if isinstance(module, DistributedDataParallel) and module.static_graph:
            raise ValueError(
                "DryRunHook needs DistributedDataParallel without a static graph: "
                "static_graph=True learns it from the first passes, which would be "
                "those of the dry run. Remove the hook, or set static_graph=False in "
                "model_wrapper_cfg"
            )


def _batch_size(loader: DataLoader) -> int:
    size = getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size
    return int(size or 1)


def _points(loader: DataLoader) -> List[DryRunPoint]:
    sampler = multi_scale_sampler(loader)
    if sampler is not None:
        return points_of_training(sampler)
    if isinstance(loader.dataset, IterableDataset):
        raise ValueError(
            "DryRunHook needs a dataset that loads images by index, but "
            f"got {type(loader.dataset).__name__}"
        )
    return [DryRunPoint(None, _batch_size(loader))]


def _batches(
    loader: DataLoader, points: Sequence[DryRunPoint], images: str
) -> List[Tuple[DryRunPoint, List[int]]]:
    """Choose the images of each point, from the training's dataset."""
    sampler = multi_scale_sampler(loader)
    landscape = None if sampler is None else sampler.landscape
    if images == "worst":
        known = _shapes_and_instances(loader.dataset)
        if known is not None:
            return [
                (point, batch)
                for point in points
                for batch in worst_batches(point, *known, landscape)
            ]
    instances = None
    if images == "most_instances":
        instances = _instances(loader.dataset)
    candidates: Sequence[int] = range(len(loader.dataset))  # type: ignore[arg-type]
    if landscape is not None:  # the kind that most images are of
        flag = 2 * landscape.sum() >= len(landscape)
        candidates = [i for i in candidates if landscape[i] == flag]
    return [
        (point, chosen_images(candidates, point.batch_size, instances))
        for point in points
    ]


def _shapes_and_instances(dataset: Any) -> Optional[Tuple[np.ndarray, List[int]]]:
    """Height, width and objects of each image; ``None`` where records do not say."""
    shapes, counts = [], []
    try:
        for index in range(len(dataset)):
            record = dataset.get_data_info(index)
            sides = record.get("height"), record.get("width")
            objects = record.get("instances")
            if None in sides and objects is None:
                return None
            # Shapes that are not known are taken to be alike.
            shapes.append((1, 1) if None in sides else sides)
            counts.append(0 if objects is None else len(objects))
    except (AttributeError, KeyError, TypeError):
        return None
    return np.asarray(shapes, dtype=np.float64).reshape(-1, 2), counts


def batches_of_points(
    loader: DataLoader, points: Sequence[DryRunPoint], images: str = "spread"
) -> DataLoader:
    """Return a loader of the batches of each point, from the training's dataset.

    Its worker is a process of its own, whose copy of the dataset keeps the training's
    untouched.
    """
    return _loader(loader, _batches(loader, points, images))


def _loader(
    loader: DataLoader, trials: Sequence[Tuple[DryRunPoint, List[int]]]
) -> DataLoader:
    """Batches of the points, in order, from the training's data set."""
    batches = []
    for point, chosen in trials:
        index = int if point.size is None else sized_index_class(point.size)
        batches.append([index(i) for i in chosen])
    return DataLoader(
        loader.dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        # In a process of its own: what transforms draw and caches keep stays there.
        num_workers=1,
        collate_fn=loader.collate_fn,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context
        if loader.num_workers
        else None,
        generator=torch.Generator().manual_seed(0),
    )


def _instances(dataset: Any) -> List[int]:
    """Objects of each image."""
    counts = []
    for index in range(len(dataset)):
        try:
            record = dataset.get_data_info(index)
            counts.append(len(record["instances"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                "images='most_instances' needs an MMEngine dataset whose records "
                f"have 'instances', but got {type(dataset).__name__}; set "
                "images='spread'"
            ) from error
    return counts


def _prepare(optim_wrapper: Any) -> None:
    """Rates of 0: weights stay as they are, at the cost of a real step."""
    for wrapper in plain_optim_wrappers(optim_wrapper):
        for group in wrapper.optimizer.param_groups:
            group["lr"] = 0.0 * group["lr"]
        scaler = getattr(wrapper, "loss_scaler", None)
        if scaler is None:
            continue
        state = scaler.state_dict()
        if "scale" in state:
            # At the usual start of 65,536 the gradients overflow, and no step is made.
            scaler.load_state_dict({**state, "scale": 1.0})


def _iterations_of_update(wrappers: Sequence[Any]) -> Tuple[int, int]:
    """First iteration and number of those that show an update's peak."""
    for wrapper in wrappers:
        measuring = getattr(wrapper, "measuring_iterations", None)  # AGVM
        found = None if measuring is None else measuring()
        if found is not None:
            first, count = found
            return int(first), int(count)
    accumulated = _accumulated(wrappers)
    # With accumulation, the one before the update leaves its gradients behind.
    count = min(accumulated, 2)
    return accumulated - count, count


def _accumulated(wrappers: Sequence[Any]) -> int:
    return max(getattr(each, "_accumulative_counts", 1) for each in wrappers)


def _set_counts(optim_wrapper: Any, inner_count: int) -> None:
    for wrapper in plain_optim_wrappers(optim_wrapper):
        # Not by initialize_count_status, which warns of such a start.
        wrapper._inner_count = inner_count
        wrapper._max_counts = -1


def _notes_used_parameters(model: nn.Module) -> bool:
    return any(
        isinstance(module, DistributedDataParallel) and module.find_unused_parameters
        for module in model.modules()
    )


@contextmanager
def _on_this_rank_alone(model: nn.Module) -> Iterator[None]:
    """Without DDP's collectives, so that a rank may fail without another waiting."""
    with ExitStack() as stack:
        for module in model.modules():
            if isinstance(module, DistributedDataParallel):
                stack.enter_context(module.no_sync())
                # Put back with the model's other attributes.
                module.broadcast_buffers = False
        yield
