"""Iterations of a config's training at any size and batch size, to be measured."""

from __future__ import annotations

import itertools
import os.path as osp
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner.activation_checkpointing import turn_on_activation_checkpointing

from ..dry_run.trial_updates import stop_learning
from ..multi_scale.growing_sizes import SAMPLER_ARGUMENTS, GrowingSizes
from ..multi_scale.sized_index import sized_index_class
from ..multi_scale.sizes import TARGET_SIZE, Size
from ..utils.config_types import batch_size_of
from ..utils.first_iteration import first_iteration
from ..utils.in_process import in_process
from ..utils.pretrained import without_pretrained
from .batch_maker import batch_maker
from .config_plan import is_multi_scale

__all__ = [
    "RealBatches",
    "SyntheticBatches",
    "TrainingIterations",
    "sampler_config",
    "size_schedule",
]


def sampler_config(config: Mapping[str, Any]) -> Optional[Mapping[str, Any]]:
    """Return the config of the batch sampler; ``None`` where it is another one."""
    if not is_multi_scale(config):
        return None
    sampler: Mapping[str, Any] = config["train_dataloader"]["batch_sampler"]
    return sampler


def size_schedule(config: Mapping[str, Any], **changes: Any) -> GrowingSizes:
    """Return sizes, batch sizes and weights of a config, without its data.

    Args:
        config: Of a training. If it has the sampler, the sampler's arguments are used.
        changes: ``batch_size`` and arguments of the sampler in place of the config's.
            If ``sizes`` is among them, the config's sizes, weights and batch sizes are
            not used.

    Raises:
        ValueError: An argument is not valid; neither a sampler nor ``sizes``.
    """
    sampler = sampler_config(config) or {}
    arguments = {key: sampler[key] for key in SAMPLER_ARGUMENTS if key in sampler}
    if "sizes" in changes:
        for key in ("sizes", "weights", "batch_sizes"):
            arguments.pop(key, None)
    arguments["batch_size"] = batch_size_of(config.get("train_dataloader") or {})
    arguments.update(changes)
    return GrowingSizes(**arguments)


class RealBatches:
    """Batches of a config's training data at any size.

    The images come in the order of the config's samplers, so that batches are of one
    kind where the sampler groups by aspect ratio; batches of the same turn hold the
    same images at every size.

    Args:
        config: Of a training with ``MultiScaleVariableBatchSampler``.
        most_images: Of any batch that is asked for.
        base_size: ``(height, width)`` in pixels.

    Attributes:
        num_samples: Images of the dataset.
        loading: ``(seconds, images)`` spent on loading at each size.
    """

    def __init__(self, config: Config, most_images: int, base_size: Size) -> None:
        sampler = sampler_config(config)
        if sampler is None:
            raise ValueError(
                "train_dataloader.batch_sampler must be MultiScaleVariableBatchSampler "
                "for the dataset to give images of any size"
            )
        loader = in_process(config.train_dataloader)
        loader.pop("num_batch_per_epoch", None)
        # One batch serves every size: each takes of it as many images as it needs.
        loader.update(
            batch_size=most_images,
            batch_sampler={
                "type": sampler["type"],
                "base_size": base_size,
                "group_by_aspect_ratio": sampler.get("group_by_aspect_ratio", False),
            },
        )
        seed = (config.get("randomness") or {}).get("seed") or 0
        self._loader = Runner.build_dataloader(loader, seed=seed)
        self.num_samples = len(self._loader.dataset)
        self.loading: Dict[Size, Tuple[float, int]] = {}
        self._batches = self._endless()
        self._turns: List[List[int]] = []
        self._asked: Dict[Tuple[int, int, int], int] = {}

    def __call__(self, height: int, width: int, batch_size: int) -> Any:
        """Return a batch of this size, ready for the model."""
        point = (height, width, batch_size)
        turn = self._asked.get(point, 0)
        self._asked[point] = turn + 1
        while len(self._turns) <= turn:
            self._turns.append([int(index) for index in next(self._batches)])
        sized = sized_index_class((height, width))
        start = time.perf_counter()
        samples = [
            self._loader.dataset[sized(index)]
            # A small dataset gives fewer images than asked for.
            for index in itertools.islice(
                itertools.cycle(self._turns[turn]), batch_size
            )
        ]
        data = self._loader.collate_fn(samples)
        seconds, images = self.loading.get((height, width), (0.0, 0))
        self.loading[height, width] = (
            seconds + time.perf_counter() - start,
            images + batch_size,
        )
        return data

    def _endless(self) -> Iterator[List[int]]:
        for epoch in itertools.count():
            self._loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
            yield from self._loader.batch_sampler  # type: ignore[union-attr]


class SyntheticBatches:
    """Batches without data for a model of mmpretrain, mmdet or mmsegmentation.

    Args:
        model: Built.
        positive_rois: See :func:`batch_maker`, as for the errors.
    """

    def __init__(self, model: Any, positive_rois: Optional[int] = None) -> None:
        self._make_batch = batch_maker(model, positive_rois)

    def __call__(self, height: int, width: int, batch_size: int) -> Any:
        """Return a batch of this size, ready for the model."""
        data = self._make_batch(batch_size, height, width)
        # The model's preprocessor expects pixel values, one tensor for each view.
        views = data["inputs"]
        several = isinstance(views, list)
        pixels = [
            (view * 64.0 + 128.0).cpu() for view in (views if several else [views])
        ]
        data["inputs"] = pixels if several else pixels[0]
        for sample in data["data_samples"]:
            sample.set_metainfo({TARGET_SIZE: (height, width)})
        return data


class TrainingIterations:
    """A config's model and optimizer, ready to run single iterations.

    An iteration is what MMEngine's loop runs: preprocessing, forward, backward and the
    optimizer's step, mixed precision and accumulation as configured. Learning rates
    are 0, which costs the same and leaves the weights as they are, so that the first
    iteration does the work of the last. Weights are the config's random ones; nothing
    is downloaded. Hooks, loading of data and exchange between ranks are not in it.

    Args:
        config: Of a training, of any MMEngine library. It is not changed.
        work_dir: Where MMEngine's runner puts its log.
        checkpoint: File of weights to start from. RoI heads see other RoIs in a
            trained model.

    Attributes:
        model: On the device, in training mode.
        device: Such as ``'cuda'`` or ``'cpu'``.
    """

    def __init__(
        self, config: Config, work_dir: str, checkpoint: Optional[str] = None
    ) -> None:
        config = _for_measuring(config, work_dir)
        runner = Runner.from_cfg(config)
        self.device = str(get_device())
        self.model: Any = runner.model
        if hasattr(self.model, "init_weights"):
            self.model.init_weights()
        if checkpoint is not None:
            load_checkpoint(self.model, checkpoint, map_location="cpu")
        if self.device == "cpu":
            self.model = revert_sync_batchnorm(self.model)
        if config.get("activation_checkpointing"):
            turn_on_activation_checkpointing(
                self.model, config.activation_checkpointing
            )
        self.model.train()
        self._optim_wrapper: Any = runner.build_optim_wrapper(config.optim_wrapper)
        stop_learning(self._optim_wrapper)
        self._optim_wrapper.initialize_count_status(self.model, 0, 10**9)
        self._last: Any = None
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether an iteration so far gave a loss that is not finite."""
        self._look_at_last()
        return self._lost

    def prepare(self, data: Any) -> Callable[[], None]:
        """Return a function that runs one iteration on a batch of the data loader."""
        self._look_at_last()

        def iteration() -> None:
            with first_iteration():
                self._last = self.model.train_step(data, self._optim_wrapper)

        return iteration

    def _look_at_last(self) -> None:
        # Not within the iteration: reading a loss waits for the device.
        loss = self._last.get("loss") if isinstance(self._last, Mapping) else None
        if isinstance(loss, torch.Tensor) and not bool(loss.isfinite().all()):
            self._lost = True
        self._last = None


def _for_measuring(config: Config, work_dir: str) -> Config:
    """Return the config with only its model, data and optimizer."""
    # Config's own deepcopy keeps what a pure Python config imports lazily.
    changed = Config(without_pretrained(config.to_dict()))
    changed.update(
        work_dir=work_dir,
        load_from=None,
        resume=False,
        launcher="none",
        default_hooks=None,
        custom_hooks=[],
        param_scheduler=None,
        auto_scale_lr=None,
        # No run is to appear in a user's dashboard.
        visualizer=dict(type="mmengine.Visualizer", vis_backends=None),
        log_level="ERROR",
        # The default goes by the second, and two of one name share their log.
        experiment_name=osp.basename(osp.abspath(work_dir)),
    )
    for name in ("val", "test"):
        for part in ("dataloader", "cfg", "evaluator"):
            changed[f"{name}_{part}"] = None
    return changed
