"""Train one arm with MMEngine's runner: resumable, timed, ended when it diverges."""

from __future__ import annotations

import itertools
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .arms import tell

EXPLOSION = 10.0
"""An update whose mean loss is this many times the first one's has diverged."""

_SECONDS, _CPU_SECONDS = "lab_train_seconds", "lab_cpu_seconds"
_FIRST_LOSS, _TRACE = "lab_first_loss", "lab_agvm_trace"
_experiments = itertools.count()


class DivergedError(Exception):
    """The loss is not finite any more, or has exploded."""


@dataclass
class Outcome:
    """What a training has come to.

    Args:
        diverged: Whether it ended early because its loss had exploded.
        metrics: Those of the evaluator; empty if diverged.
        updates: Updates of the weights.
        train_seconds: Wall-clock seconds of the training iterations.
        cpu_seconds: Processor seconds of the training iterations.
        images: Images that this rank has trained on.
        loss: Means of the training loss over up to 60 equal parts of the training.
        agvm: Measurements of AGVM, see :func:`thinned`; empty without AGVM.
    """

    diverged: bool
    metrics: Dict[str, float]
    updates: int
    train_seconds: float
    cpu_seconds: float
    images: int
    loss: List[float] = field(default_factory=list)
    agvm: List[Dict[str, Any]] = field(default_factory=list)


def train(
    config: Dict[str, Any],
    folder: Path,
    checkpoint_images: int = 16384,
    points: int = 60,
) -> Outcome:
    """Train to the end, or from the last checkpoint in ``folder`` to the end.

    Args:
        config: Arguments of ``Runner`` with ``train_cfg`` by epoch and a validation,
            which takes place once, at the end. The train data loader has a
            ``MultiScaleVariableBatchSampler``; without a curriculum,
            :func:`fixed_size_loader` makes one.
        folder: Where its checkpoints lie.
        checkpoint_images: Save a checkpoint about every so many images.
            Defaults to 16384.
        points: Most points of the loss and of AGVM's measurements in the outcome.
            Defaults to 60.

    Returns:
        Outcome: The same whether or not the training was cut off in between.
    """
    watch = _Watch(folder.name)
    runner = Runner(**_completed(config, folder, checkpoint_images, watch))
    runner.logger.setLevel("WARNING")
    diverged = False
    try:
        runner.train()
    except DivergedError as reason:
        tell(f"{folder.name}: diverged, {reason}")
        diverged = True
    except Exception:
        # Boxes that are not finite make mmdet fail before there is a loss.
        if all(bool(torch.isfinite(p).all()) for p in runner.model.parameters()):
            raise
        tell(f"{folder.name}: diverged, weights are not finite")
        diverged = True
    metrics = {} if diverged else runner.val()
    hub = runner.message_hub
    history, _ = hub.get_scalar("train/loss").data
    counts = runner.optim_wrapper._accumulative_counts
    sizes, _ = hub.get_scalar("train/batch_size").data
    return Outcome(
        diverged=diverged,
        metrics={name: float(value) for name, value in metrics.items()},
        updates=len(history) // counts,
        train_seconds=hub.get_info(_SECONDS, 0.0),
        cpu_seconds=hub.get_info(_CPU_SECONDS, 0.0),
        images=int(sum(sizes)),
        loss=binned_means([float(value) for value in history], points),
        agvm=thinned(hub.get_info(_TRACE, []), points),
    )


def _completed(
    config: Dict[str, Any], folder: Path, checkpoint_images: int, watch: Hook
) -> Dict[str, Any]:
    wrapper = config["optim_wrapper"]
    counts = wrapper.get("accumulative_counts", 1)
    per_update = config["train_dataloader"]["batch_sampler"].get(
        "batch_size", config["train_dataloader"]["batch_size"]
    )
    # Accumulated gradients are in no checkpoint: save between updates only.
    interval = counts * max(1, round(checkpoint_images / (per_update * counts)))
    hooks = dict(
        logger=dict(type="LoggerHook", interval=50 * counts),
        checkpoint=dict(
            type="AtomicCheckpointHook",
            by_epoch=False,
            interval=interval,
            max_keep_ckpts=1,
        ),
        **config.get("default_hooks", {}),
    )
    train_cfg = dict(config["train_cfg"], by_epoch=True)
    train_cfg.update(val_begin=train_cfg["max_epochs"] + 1)
    return dict(
        config,
        train_cfg=train_cfg,
        default_hooks=hooks,
        custom_hooks=[*config.get("custom_hooks", ()), watch],
        work_dir=str(folder),
        experiment_name=f"{folder.name}-{os.getpid()}-{next(_experiments)}",
        log_level="WARNING",
        resume=True,
        env_cfg=dict(
            config.get("env_cfg", {}),
            mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
        ),
    )


def fixed_size_loader(
    dataset: Dict[str, Any], batch_size: int, size: int
) -> Dict[str, Any]:
    """Return the config of a train data loader that resumes exactly anywhere.

    It needs ``ResolutionCurriculumHook(schedule='constant')``, see docs/resume.md.

    Args:
        dataset: Config of the dataset.
        batch_size: Images per iteration; the last images of an epoch that do not fill
            a batch are left out.
        size: Side of the images in pixels, for the log only.
    """
    return dict(
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type="DefaultSampler", shuffle=True),
        batch_sampler=dict(
            type="MultiScaleVariableBatchSampler",
            batch_size=batch_size,
            base_size=size,
            drop_last=True,
        ),
        dataset=dict(type="MultiScaleDataset", dataset=dataset),
    )


class _Watch(Hook):
    """Times the iterations, notes what AGVM measures, ends what has diverged.

    What it has noted goes to the message hub, and so into the checkpoints.
    """

    priority = "LOW"  # after RuntimeInfoHook, before checkpoints are saved

    def __init__(self, name: str) -> None:
        self.name = name
        self._losses: List[float] = []
        self._told = time.monotonic()
        self._told_images = 0

    def before_train(self, runner: Any) -> None:
        if runner.iter:
            tell(f"{self.name}: continues at iteration {runner.iter}")

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        # The loader has just made the batch: its time counts from the last iteration.
        if batch_idx == 0 or not hasattr(self, "_start"):
            self._start = (time.perf_counter(), time.process_time())

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[Dict[str, Any]] = None,
    ) -> None:
        now = (time.perf_counter(), time.process_time())
        hub = runner.message_hub
        for key, start, end in zip((_SECONDS, _CPU_SECONDS), self._start, now):
            hub.update_info(key, hub.get_info(key, 0.0) + end - start)
        self._start = now
        self._note_agvm(runner)
        loss = outputs["loss"].detach() if outputs else math.nan
        self._check_loss(runner, float(loss))
        self._tell(runner, len(data_batch["inputs"]))

    def _note_agvm(self, runner: Any) -> None:
        agvm = getattr(runner.optim_wrapper, "agvm", None)
        if agvm is None:
            return
        trace = runner.message_hub.get_info(_TRACE, [])
        if agvm.num_measured == (trace[-1]["measured"] if trace else 0):
            return
        counts = runner.optim_wrapper._accumulative_counts
        entry = dict(
            update=(runner.iter + 1) // counts,
            measured=agvm.num_measured,
            phi={k: v for k, v in agvm.variances.items() if math.isfinite(v)},
            mu=dict(agvm.multipliers),
        )
        runner.message_hub.update_info(_TRACE, [*trace, entry])

    def _check_loss(self, runner: Any, loss: float) -> None:
        if not math.isfinite(loss):
            raise DivergedError(f"the loss is {loss} in iteration {runner.iter}")
        self._losses.append(loss)
        if (runner.iter + 1) % runner.optim_wrapper._accumulative_counts:
            return
        mean = sum(self._losses) / len(self._losses)
        self._losses = []
        first = runner.message_hub.get_info(_FIRST_LOSS, None)
        if first is None:
            runner.message_hub.update_info(_FIRST_LOSS, mean)
        elif mean > EXPLOSION * first:
            raise DivergedError(
                f"the loss is {mean:.4g} in iteration {runner.iter}, {first:.4g} in "
                "the first update"
            )

    def _tell(self, runner: Any, images: int) -> None:
        self._told_images += images
        passed = time.monotonic() - self._told
        if passed < 60 or not is_main_process():
            return
        loss = runner.message_hub.get_scalar("train/loss").mean(50)
        tell(
            f"{self.name}: iteration {runner.iter + 1}/{runner.max_iters}, loss "
            f"{loss:.3f}, {self._told_images / passed:.0f} images/s"
        )
        self._told, self._told_images = time.monotonic(), 0


def binned_means(values: Sequence[float], bins: int = 60) -> List[float]:
    """Return the means over up to ``bins`` equal parts of a sequence."""
    bins = min(bins, len(values))
    edges = [len(values) * part // bins for part in range(bins + 1)] if bins else []
    return [sum(values[low:high]) / (high - low) for low, high in zip(edges, edges[1:])]


def thinned(trace: Sequence[Dict[str, Any]], points: int = 60) -> List[Dict[str, Any]]:
    """Average the measurements of AGVM over up to ``points`` equal parts.

    Args:
        trace: Entries with ``update``, ``measured``, ``phi`` and ``mu`` by module.
        points: Number of parts. Defaults to 60.

    Returns:
        list[dict]: For each part the last ``update``, the mean ``phi`` of each module
        (variances scatter from one measurement to the next) and the last ``mu``.
    """
    points = min(points, len(trace))
    edges = (
        [len(trace) * part // points for part in range(points + 1)] if points else []
    )
    parts = []
    for low, high in zip(edges, edges[1:]):
        entries = trace[low:high]
        parts.append(
            dict(
                update=entries[-1]["update"],
                phi=mean_by_module([entry["phi"] for entry in entries]),
                mu=dict(entries[-1]["mu"]),
            )
        )
    return parts


def mean_by_module(tables: Sequence[Dict[str, float]]) -> Dict[str, float]:
    """Return the mean of each module over the tables that have it."""
    names = dict.fromkeys(name for table in tables for name in table)
    means: List[Tuple[str, float]] = []
    for name in names:
        values = [table[name] for table in tables if name in table]
        means.append((name, sum(values) / len(values)))
    return dict(means)
