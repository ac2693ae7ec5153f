"""Train and measure one arm of the multi-scale benchmark."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import lab.scenes  # noqa: F401  (registers its dataset)
import torch
from lab.arms import write_json
from lab.training import train
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.hooks import Hook

from . import photos  # noqa: F401  (registers its dataset)
from .arms import (
    CONSTANT,
    SizeArm,
    all_arms,
    batch_rule,
    build_sampler,
    epochs_of,
)
from .tasks import SizeTask

CURVE_POINTS = 10
COUNTED_IMAGES = 16
CURVE = "lab_curve"


class CurveHook(Hook):
    """Validates every so many epochs, but for the last, and keeps the values.

    They stand in the message hub, and so in checkpoints.

    Args:
        metric: Name of the metric.
        interval: Epochs from one validation to the next.

    Attributes:
        points: ``[epochs done, value]`` of each validation, after the training.
    """

    # After the checkpoint of the epoch's last iteration, so that a resumed training
    # validates at most once more.
    priority = "LOWEST"

    def __init__(self, metric: str, interval: int) -> None:
        self.metric = metric
        self.interval = interval
        self.points: List[List[float]] = []

    def after_train_epoch(self, runner: Any) -> None:
        """Validate if it is time."""
        done = runner.epoch + 1
        if done % self.interval or done == runner.max_epochs:
            return
        found = runner.val_loop.run()
        points = runner.message_hub.get_info(CURVE, [])
        points = [point for point in points if point[0] < done]
        value = float(found.get(self.metric, 0.0))
        runner.message_hub.update_info(CURVE, [*points, [done, value]])

    def after_train(self, runner: Any) -> None:
        """Keep what is in the message hub."""
        self.points = runner.message_hub.get_info(CURVE, [])


@dataclass(frozen=True)
class Places:
    """Folders of a benchmark.

    Attributes:
        data_root: Folder of the photographs and microscope images.
        work_dir: Folder of the trainings.
    """

    data_root: Path
    work_dir: Path

    @property
    def cache(self) -> Path:
        """Folder of the drawn scenes."""
        return self.work_dir / "scenes"


@dataclass(frozen=True)
class Stage:
    """One call of MMEngine's runner.

    Attributes:
        arm: Arm whose sizes are trained on.
        epochs: Epochs of the stage.
        folder: Folder of the stage.
        after: Stage whose weights it begins with; ``None``: from scratch.
        lr_scale: Factor of the task's learning rate.
    """

    arm: SizeArm
    epochs: int
    folder: Path
    after: Optional[Stage] = None
    lr_scale: float = 1.0

    @property
    def done(self) -> Path:
        """File that is there when the stage is done, with its times and curve."""
        return self.folder / "trained.json"

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint of a stage that is done."""
        return Path((self.folder / "last_checkpoint").read_text().strip())


def folder_name(text: str) -> str:
    """Return a name of an arm or task as a part of a path."""
    return text.lower().replace(" ", "-")


def stages_of(
    task: SizeTask, arm: SizeArm, seed: int, places: Places, num_images: int
) -> List[Stage]:
    """Return the stages of an arm's training; those of another arm come first."""
    arms = all_arms(task.sides)
    own = arm if arm.trained_as is None else arms[arm.trained_as]
    base = task.sides.base
    epochs = epochs_of(own, arms, task.sides, task.batch_size, num_images, task.epochs)

    def folder(name: str) -> Path:
        return places.work_dir / task.name / f"{folder_name(name)}-seed{seed}"

    stages = [Stage(own, epochs, folder(own.name), lr_scale=own.lr_factor)]
    if arm.final_epochs:
        base_only = SizeArm(arm.name, (base,), CONSTANT)
        stages.append(
            Stage(
                base_only,
                max(1, round(arm.final_epochs * task.epochs)),
                folder(arm.name),
                stages[0],
                lr_scale=0.1,
            )
        )
    return stages


def training_config(
    task: SizeTask, stage: Stage, seed: int, places: Places
) -> Dict[str, Any]:
    """Return the config of one stage, as the laboratory's ``train`` takes it."""
    arm = stage.arm
    optim_wrapper = task.optim_wrapper()
    optim_wrapper["optimizer"]["lr"] *= stage.lr_scale
    model = ConfigDict(task.model())  # mmdet reads parts of it as attributes
    if stage.after is not None:
        model["init_cfg"] = dict(
            type="Pretrained", checkpoint=str(stage.after.checkpoint)
        )

    def dataset(split: str, pipeline: List[Any]) -> Dict[str, Any]:
        return task.dataset(split, pipeline, places.data_root, places.cache)

    collate = "pseudo_collate" if task.scope == "mmdet" else "default_collate"
    loader: Dict[str, Any] = dict(num_workers=0, collate_fn=dict(type=collate))
    return dict(
        default_scope=task.scope,
        model=model,
        train_dataloader=dict(
            **loader,
            batch_size=task.batch_size,
            sampler=dict(type="DefaultSampler", shuffle=True),
            batch_sampler=dict(
                type="MultiScaleVariableBatchSampler",
                base_size=task.sides.base,
                sizes=list(arm.sizes),
                weights=None if arm.weights is None else list(arm.weights),
                **batch_rule(arm),
                seed=seed,
            ),
            dataset=dict(
                type="MultiScaleDataset",
                dataset=dataset("train", task.train_pipeline(arm.jitter)),
            ),
        ),
        val_dataloader=dict(
            **loader,
            batch_size=50,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dataset("val", task.test_pipeline(task.sides.base)),
        ),
        val_evaluator=task.evaluator(places.data_root, places.cache),
        train_cfg=dict(max_epochs=stage.epochs),
        val_cfg=dict(),
        optim_wrapper=optim_wrapper,
        param_scheduler=task.param_scheduler(stage.epochs, warmup=stage.after is None),
        custom_hooks=[dict(type="ResolutionCurriculumHook", **arm.curriculum)],
        randomness=dict(seed=seed),
    )


def train_stage(task: SizeTask, stage: Stage, seed: int, places: Places) -> None:
    """Train a stage, continue it where it was killed, or return if it is done."""
    if stage.done.exists():
        return
    stage.folder.mkdir(parents=True, exist_ok=True)
    config = training_config(task, stage, seed, places)
    curve = CurveHook(task.metric, max(1, round(stage.epochs / CURVE_POINTS)))
    config["custom_hooks"].append(curve)
    num_images = task.num_images(places.data_root, places.cache)
    outcome = train(
        config, stage.folder, checkpoint_images=max(1, stage.epochs // 15) * num_images
    )
    points = [*curve.points]
    if task.metric in outcome.metrics:
        points.append([stage.epochs, outcome.metrics[task.metric]])
    write_json(
        dict(
            diverged=outcome.diverged,
            iterations=outcome.updates,
            images=outcome.images,
            seconds=outcome.train_seconds,
            cpu_seconds=outcome.cpu_seconds,
            loss=outcome.loss,
            curve=[[epoch, task.factor * value] for epoch, value in points],
        ),
        stage.done,
    )


def flops_by_size(
    task: SizeTask,
    model: torch.nn.Module,
    sizes: Sequence[Tuple[int, int]],
    places: Places,
) -> Dict[Tuple[int, int], float]:
    """Return the training FLOPs of an image at each size, on images of the training.

    The same images for every arm; in a detector the work of the heads depends on the
    objects, and on how many proposals hit them.
    """
    from mmengine.dataset import DefaultSampler, default_collate, pseudo_collate

    from mms_plugin import MultiScaleDataset, MultiScaleVariableBatchSampler
    from mms_plugin.analysis import training_flops_per_image

    config = task.dataset(
        "train", task.train_pipeline(), places.data_root, places.cache
    )
    dataset = MultiScaleDataset(config)
    detects = task.scope == "mmdet"
    collate = pseudo_collate if detects else default_collate
    count = min(COUNTED_IMAGES if detects else 2, len(dataset))
    inner = DefaultSampler(range(count), shuffle=False)

    def make_batch(batch_size: int, height: int, width: int) -> Dict[str, Any]:
        sampler = MultiScaleVariableBatchSampler(
            inner, batch_size, base_size=(height, width), seed=0
        )
        samples = [dataset[index] for index in next(iter(sampler))]
        preprocess: Any = model.data_preprocessor
        batch: Dict[str, Any] = preprocess(collate(samples), training=True)
        return batch

    return training_flops_per_image(model, make_batch, sizes, batch_size=count)


def base_batches(
    task: SizeTask, seed: int, places: Places, count: int
) -> Iterator[Any]:
    """Yield batches of training images at the base size."""
    from mmengine.runner import Runner

    base = SizeArm("base", (task.sides.base,), CONSTANT)
    config = training_config(
        task, Stage(base, 1, places.work_dir / "unused"), seed, places
    )
    loader = Runner.build_dataloader(config["train_dataloader"], seed=seed)
    for number, batch in enumerate(loader):
        if number == count:
            return
        yield batch


def evaluate(
    task: SizeTask,
    model: torch.nn.Module,
    places: Places,
    size: int,
    corruption: str = "",
) -> Dict[str, Any]:
    """Return MMEngine's metrics, and the bins of the reliability diagram.

    Args:
        task: The task.
        model: The trained model.
        places: Folders.
        size: Side of the test images in pixels.
        corruption: Name of a corruption. Defaults to clean images.
    """
    from mmengine.dataset import DefaultSampler, default_collate, pseudo_collate
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DATASETS

    config = task.dataset(
        "val", task.test_pipeline(size, corruption), places.data_root, places.cache
    )
    dataset = DATASETS.build(config)
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=50,
        sampler=DefaultSampler(dataset, shuffle=False),
        collate_fn=pseudo_collate if task.scope == "mmdet" else default_collate,
    )
    evaluator = Evaluator(task.evaluator(places.data_root, places.cache))
    evaluator.dataset_meta = dataset.metainfo
    model.eval()
    with torch.no_grad():
        for batch in loader:
            evaluator.process(model.test_step(batch), batch)  # type: ignore[operator]
    found: Dict[str, Any] = dict(evaluator.evaluate(len(dataset)))
    for metric in evaluator.metrics:
        if getattr(metric, "bins", None) is not None:
            found["bins"] = [item.to_dict() for item in metric.bins]
    return found


def measure(task: SizeTask, model: torch.nn.Module, places: Places) -> Dict[str, Any]:
    """Return the fields of an arm's result that tests of the model give."""

    # mmdet gives no metrics where a detector finds nothing at all.
    def percent(found: Mapping[str, Any], metric: str = task.metric) -> float:
        return task.factor * float(found.get(metric, 0.0))

    by_size = {
        str(side): evaluate(task, model, places, side)
        for side in task.sides.sides(task.sides.wide)
    }
    base = by_size[str(task.sides.base)]
    result: Dict[str, Any] = dict(
        metric=task.metric,
        value=percent(base),
        by_size={side: percent(found) for side, found in by_size.items()},
        ece=base.get("calibration/ece"),
        nll=base.get("calibration/nll"),
        brier=base.get("calibration/brier"),
        bins=base.get("bins"),
    )
    if "coco/segm_mAP" in base:
        result["mask_value"] = percent(base, "coco/segm_mAP")
        result["mask_by_size"] = {
            side: percent(found, "coco/segm_mAP") for side, found in by_size.items()
        }
    by_corruption = {}
    try:
        for name in task.corruptions:
            found = evaluate(task, model, places, task.sides.base, name)
            by_corruption[name] = percent(found)
    except ImportError as error:
        result["corrupted_skipped"] = str(error)
        by_corruption = {}
    result["corrupted"] = (
        sum(by_corruption.values()) / len(by_corruption) if by_corruption else None
    )
    result["corrupted_by"] = by_corruption
    result["severity"] = task.severity
    return result


def run_arm(task: SizeTask, arm: SizeArm, seed: int, places: Places) -> Dict[str, Any]:
    """Train an arm, unless that is done, and return its result.

    Args:
        task: The task.
        arm: One of the task's arms.
        seed: Seed of the training.
        places: Folders; a training that was killed continues from its own.

    Returns:
        One entry of ``docs/results/multi_scale.json``. ``train_flops`` is counted on
        the trained model; ``by_size`` is percent by test size; ``curve`` holds
        ``[epoch, train_flops so far, percent]``; ``bins`` is the reliability diagram;
        ``device`` is ``'cpu'`` or the name of the GPU.
    """
    from mmengine.registry import DefaultScope, init_default_scope
    from mmengine.runner import load_checkpoint

    import mms_plugin  # noqa: F401
    from mms_plugin.analysis import build_model
    from mms_plugin.utils.batch_norm import estimate_batch_norm

    torch.set_num_threads(1)
    task.check_data(places.data_root)
    init_default_scope(task.scope)
    num_images = task.num_images(places.data_root, places.cache)
    stages = stages_of(task, arm, seed, places, num_images)
    with contextlib.redirect_stdout(_nowhere()):  # pycocotools prints its tables
        for stage in stages:
            train_stage(task, stage, seed, places)
        with DefaultScope.overwrite_default_scope(task.scope):
            model = build_model(_model_config(task))
            load_checkpoint(
                model, str(stages[-1].checkpoint), map_location="cpu", logger="silent"
            )
            model.to(get_device())  # where MMEngine trains
            if arm.precise_bn:
                preprocess: Any = model.data_preprocessor
                batches = base_batches(task, seed, places, arm.precise_bn)
                estimate_batch_norm(
                    model,
                    batches,
                    lambda batch: model(**preprocess(batch, True), mode="loss"),
                )
            result = measure(task, model, places)
            cost = training_cost(task, model, stages, seed, places, num_images)
    return dict(
        task=task.name,
        data=task.data,
        arm=arm.name,
        seed=seed,
        precision=task.precision,
        device=_device_name(),
        **cost,
        **result,
    )


@functools.cache
def _nowhere() -> Any:
    # Never closed: MMEngine's loggers keep the standard output that they find.
    return open(os.devnull, "w")


def _device_name() -> str:
    cuda = get_device() == "cuda"
    return torch.cuda.get_device_name() if cuda else get_device()


def _model_config(task: SizeTask) -> Any:
    from mmengine.config import Config

    return Config(dict(model=task.model(), default_scope=task.scope))


def training_cost(
    task: SizeTask,
    model: torch.nn.Module,
    stages: Sequence[Stage],
    seed: int,
    places: Places,
    num_images: int,
) -> Dict[str, Any]:
    """Return what an arm's training cost, and its accuracy over the FLOPs."""
    plans = []
    for stage in stages:
        sampler = build_sampler(
            stage.arm,
            task.sides.base,
            task.batch_size,
            num_images,
            stage.epochs,
            seed,
        )
        plans.append([sampler.plan(epoch) for epoch in range(stage.epochs)])
    epochs = [plan for of_stage in plans for plan in of_stage]
    sizes = sorted({(h, w) for plan in epochs for h, w, _ in plan})
    flops = flops_by_size(task, model, sizes, places)
    done = [json.loads(stage.done.read_text()) for stage in stages]
    cumulated, curve, before = 0.0, [], 0
    for of_stage, found in zip(plans, done):
        spent = []
        for plan in of_stage:
            cumulated += sum(b * flops[h, w] for h, w, b in plan)
            spent.append(cumulated)
        for epoch, value in found["curve"]:
            curve.append([before + epoch, spent[epoch - 1], value])
        before += len(of_stage)
    return dict(
        epochs=len(epochs),
        iterations=sum(map(len, epochs)),
        images=sum(b for plan in epochs for _, _, b in plan),
        train_flops=cumulated,
        train_seconds=sum(found["seconds"] for found in done),
        diverged=any(found["diverged"] for found in done),
        train_cpu_seconds=sum(found["cpu_seconds"] for found in done),
        curve=curve,
    )
