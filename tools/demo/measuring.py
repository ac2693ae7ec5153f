"""What an arm costs and what it gave: read from its config, log and checkpoint."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from tasks import DemoTask
from trainings import DemoError

Plan = List[List[Tuple[int, int, int]]]
Size = Tuple[int, int]

# Images that the FLOPs of one are the mean of: objects, and so positive RoIs, vary.
COUNTED_IMAGES = 16

DRAWN_SCORE = 0.5
# Of disc, square, triangle and star: Okabe and Ito's, as in the other pictures.
CLASS_COLORS = ((0, 114, 178), (213, 94, 0), (240, 228, 66), (204, 121, 167))
CLASS_COLOR_NAMES = "disc blue, square orange, triangle yellow, star pink"


def load_config(config: Path, options: Dict[str, Any]) -> Any:
    """Return the config with what the command line changes in it."""
    from mmengine.config import Config

    cfg = Config.fromfile(str(config))
    cfg.merge_from_dict(dict(options))
    return cfg


@contextlib.contextmanager
def library_of(cfg: Any) -> Iterator[None]:
    """Within it, short names are those of the config's library; it prints nothing."""
    from mmengine.registry import DefaultScope

    scope = DefaultScope.overwrite_default_scope(cfg.default_scope)
    with scope, contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        yield


def read_scalars(work_dir: Path) -> List[Dict[str, Any]]:
    """Return the records of MMEngine's JSON log, in their order."""
    logs = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not logs:
        raise DemoError(f"{work_dir} has no vis_data/scalars.json: remove it and rerun")
    return [json.loads(line) for line in logs[-1].read_text().splitlines()]


def training_time(checkpoint: Dict[str, Any]) -> float:
    """Return the seconds of a training's iterations, as MMEngine's timer took them.

    Args:
        checkpoint: The last one, with the message hub's history.
    """
    history = checkpoint["message_hub"]["log_scalars"]["train/time"].data[0]
    if len(history) != checkpoint["meta"]["iter"]:
        raise DemoError(
            f"the checkpoint has the time of {len(history)} iterations, but ran "
            f"{checkpoint['meta']['iter']}"
        )
    return float(sum(history))


def validation_curve(
    task: DemoTask, records: Sequence[Dict[str, Any]]
) -> List[Tuple[int, Dict[str, float]]]:
    """Return ``(epoch, percent by metric)`` of the validations."""
    found = ((record, task.metric_values(record)) for record in records)
    return [(int(record["step"]), values) for record, values in found if values]


def build_model(cfg: Any, checkpoint: Path) -> Any:
    """Return the trained model."""
    from mmengine.runner import load_checkpoint

    from mms_plugin import analysis

    built = analysis.build_model(cfg)
    load_checkpoint(built, str(checkpoint), map_location="cpu", logger="silent")
    return built


def training_loader(cfg: Any) -> Any:
    """Return the training's own loader, in this process."""
    from mmengine.runner import Runner

    loader = {**cfg.train_dataloader, "num_workers": 0, "persistent_workers": False}
    return Runner.build_dataloader(loader, seed=cfg.randomness.seed)


def run_plan(task: DemoTask, cfg: Any, loader: Any) -> Plan:
    """Return what the training of ``cfg`` runs, epoch by epoch."""
    from mms_plugin.analysis import curriculum_of, fixed_size_plan, multi_scale_plans

    max_epochs = cfg.train_cfg.max_epochs
    if "batch_sampler" not in cfg.train_dataloader:
        size = (task.base_size, task.base_size)
        plan = fixed_size_plan(len(loader.dataset), loader.batch_size, size)
        return [plan] * max_epochs
    return list(multi_scale_plans(loader.batch_sampler, max_epochs, curriculum_of(cfg)))


def count_sizes(model: Any, loader: Any, plan: Plan) -> Dict[Size, float]:
    """Training FLOPs of an image at each size of the plan.

    Counted on the trained model and images of the training, as its own data loader
    makes them: in a detector the work of the heads depends on the objects and on how
    many proposals hit them.
    """
    from mms_plugin.analysis import training_flops_per_image
    from mms_plugin.multi_scale.sized_index import sized_index_class

    dataset = loader.dataset
    count = min(COUNTED_IMAGES, len(dataset))
    indices = [number * len(dataset) // count for number in range(count)]

    def make_batch(batch_size: int, height: int, width: int) -> Dict[str, Any]:
        sized = sized_index_class((height, width))
        samples = [dataset[sized(index)] for index in indices[:batch_size]]
        return model.data_preprocessor(loader.collate_fn(samples), training=True)

    sizes = sorted({(height, width) for epoch in plan for height, width, _ in epoch})
    return training_flops_per_image(model, make_batch, sizes, batch_size=count)


def test_loader(cfg: Any, size: int) -> Any:
    """Return the loader of the test images at ``size`` pixels a side."""
    from mmengine.runner import Runner

    from mms_plugin.evaluation import pipeline_at_size

    loader = copy.deepcopy(cfg.test_dataloader)
    loader.update(num_workers=0, persistent_workers=False)
    loader.dataset.pipeline = pipeline_at_size(loader.dataset.pipeline, size)
    return Runner.build_dataloader(loader)


def evaluate(
    task: DemoTask, cfg: Any, model: Any, sizes: Sequence[int]
) -> Dict[str, Dict[int, float]]:
    """Percent by metric and test size."""
    import torch
    from mmengine.evaluator import Evaluator

    model.eval()
    result: Dict[str, Dict[int, float]] = {}
    for size in sizes:
        loader = test_loader(cfg, size)
        evaluator = Evaluator(copy.deepcopy(cfg.test_evaluator))
        evaluator.dataset_meta = getattr(loader.dataset, "metainfo", None)
        with torch.no_grad():
            for batch in loader:
                evaluator.process(model.test_step(batch), batch)
        values = task.metric_values(evaluator.evaluate(len(loader.dataset)))
        for label in task.metrics.values():
            # mmdet gives none where a detector found nothing at all.
            result.setdefault(label, {})[size] = values.get(label, 0.0)
    return result


def batches_by_size(cfg: Any) -> List[Any]:
    """One real batch of every size, as the last epoch of the training loads it."""
    import numpy as np

    loader = training_loader(cfg)
    batch_sampler = loader.batch_sampler
    batch_sampler.set_epoch(cfg.train_cfg.max_epochs - 1)
    chosen: Dict[Size, List[Any]] = {}
    for batch in batch_sampler:
        size = batch[0].size
        if len(batch) > len(chosen.get(size, [])):
            chosen[size] = batch
    images = []
    for _, batch in sorted(chosen.items()):
        samples = [loader.dataset[index]["inputs"] for index in batch]
        # CHW, BGR as mmcv loads it.
        images.append(np.stack([s.numpy()[::-1].transpose(1, 2, 0) for s in samples]))
    return images


def predicted_images(cfg: Any, model: Any, size: int, count: int = 6) -> Any:
    """Return the first test images with the outlines of what a detector finds in them.

    Args:
        cfg: Config of the training.
        model: The trained detector.
        size: Side that the images are tested at, in pixels.
        count: How many images. Default: 6.

    Returns:
        ``(count, side, side, 3)`` uint8 RGB, the shorter images white below or beside.
    """
    import cv2
    import numpy as np
    import torch

    loader = test_loader(cfg, size)
    count = min(count, len(loader.dataset))
    batch = loader.collate_fn([loader.dataset[index] for index in range(count)])
    model.eval()
    with torch.no_grad():
        predictions = model.test_step(batch)
    images = []
    for prediction in predictions:
        # Twice as large: the outlines are thin beside the objects.
        image: Any = cv2.imread(prediction.img_path)
        image = image[..., ::-1]
        image = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        found = prediction.pred_instances
        found = found[found.scores > DRAWN_SCORE]
        for mask, label in zip(found.masks.cpu().numpy(), found.labels.tolist()):
            mask = cv2.resize(mask.astype(np.uint8), image.shape[1::-1])
            outlines, _ = cv2.findContours(
                mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
            )
            cv2.drawContours(image, outlines, -1, CLASS_COLORS[label], 3)
        images.append(image)
    side = max(max(image.shape[:2]) for image in images)
    canvas = np.full((count, side, side, 3), 255, np.uint8)
    for number, image in enumerate(images):
        canvas[number, : image.shape[0], : image.shape[1]] = image
    return canvas
