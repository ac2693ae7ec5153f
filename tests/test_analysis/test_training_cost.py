"""Costs by hand, against a real training, and against the published arithmetic."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from torch.utils.flop_counter import FlopCounterMode

from mms_plugin.analysis import (
    ConfigPlan,
    EpochCount,
    ModelFlops,
    config_plan,
    cost_ratios,
    model_flops,
    training_cost,
)

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def plan(*epochs, counted_as=None, accumulative_counts=1):
    """Of one rank, from the counts of its batches."""
    counts = []
    for batches in epochs:
        images = {}
        for (height, width, batch_size), times in batches.items():
            size = (height, width)
            images[size] = images.get(size, 0) + batch_size * times
        counts.append(EpochCount(sum(batches.values()), batches, images))
    sizes = {size for count in counts for size in count.images}
    return ConfigPlan(
        epochs=counts,
        by_epoch=True,
        samples=None,
        world_size=1,
        seed=0,
        accumulative_counts=accumulative_counts,
        counted_as=counted_as or {size: size for size in sizes},
        assumptions=[],
    )


MODEL = ModelFlops({(2, 2): 10.0, (4, 4): 50.0}, "CPU tensors", (8, 2))


class TestByHand:
    def test_an_epoch(self):
        planned = plan({(2, 2, 8): 3, (4, 4, 2): 2}, {(4, 4, 2): 1, (4, 4, 1): 1})
        cost = training_cost(planned, MODEL, lambda h, w, b: h * w * b + 1.0)
        first, second = cost.epochs
        assert first.iterations == 5 and second.iterations == 2
        assert first.images == 28 and second.images == 3
        assert first.flops == 24 * 10 + 4 * 50 and second.flops == 150
        assert first.pixels == 24 * 4 + 4 * 16 and second.pixels == 48
        assert first.seconds == 160 + 5 and second.seconds == 48 + 2
        assert first.sides == (2.0, (3 * 2 + 2 * 4) / 5, 4.0)
        assert cost.flops == 590 and cost.seconds == 215 and cost.images == 31
        # Both sizes have 32 pixels a batch.
        assert cost.peak_pixels == 32

    def test_the_document(self):
        planned = plan({(2, 2, 8): 3, (4, 4, 2): 2}, accumulative_counts=2)
        document = training_cost(planned, MODEL).to_dict()
        assert document["iterations"] == 5 and document["optimizer_updates"] == 3
        assert document["train_flops"] == 440 and document["seconds"] is None
        assert document["rois_per_image"] == dict(sampled=8, positive=2)
        assert document["sizes"] == [
            dict(
                height=2,
                width=2,
                batch_size=8,
                iterations=3,
                images=24,
                counted_as=[2, 2],
                train_flops_per_image=10.0,
            ),
            dict(
                height=4,
                width=4,
                batch_size=2,
                iterations=2,
                images=4,
                counted_as=[4, 4],
                train_flops_per_image=50.0,
            ),
        ]

    def test_images_of_another_size_than_their_batch(self):
        planned = plan({(4, 8, 3): 1}, counted_as={(4, 8): (4, 4)})
        cost = training_cost(planned, MODEL, lambda h, w, b: float(w))
        assert cost.pixels == 48 and cost.flops == 150 and cost.peak_pixels == 48
        assert cost.seconds == 8  # measured at the batch's own size

    def test_ratios(self):
        small = training_cost(plan({(2, 2, 8): 2}, accumulative_counts=2), MODEL)
        large = training_cost(plan({(4, 4, 2): 4}), MODEL, lambda h, w, b: 1.0)
        assert cost_ratios(small, large) == dict(
            iterations=0.5,
            images=2.0,
            optimizer_updates=0.25,
            train_flops=160 / 400,
            train_pixels=64 / 128,
            peak_pixels=1.0,
            seconds=None,
        )

    def test_ratios_where_flops_are_not_counted(self):
        small, large = (training_cost(plan({(2, 2, n): 1}), None) for n in (1, 4))
        assert small.flops is None
        assert cost_ratios(small, large)["train_flops"] == 0.25


def with_model(config):
    init_default_scope(config.default_scope)
    model = dict(config.model)
    model.setdefault("data_preprocessor", config.get("data_preprocessor"))
    return MODELS.build(model)


REAL = """
_base_ = [{base!r}]
train_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=4,
    batch_sampler=dict(base_size=48, sizes=[32, 48, 64]),
    dataset=dict(dataset=dict(data_root={root!r}, data_prefix='')))
train_cfg = dict(max_epochs=5)
param_scheduler = None
val_cfg = None
val_dataloader = None
val_evaluator = None
"""


def test_a_real_training_of_the_demos_model(tmp_path):
    """FLOPs that PyTorch's counter sees around a runner's own training."""
    pytest.importorskip("mmpretrain")
    cv2 = pytest.importorskip("cv2")
    import numpy as np

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for index in range(11):
            image = np.full((70, 80, 3), 20 * index, dtype=np.uint8)
            cv2.imwrite(str(tmp_path / name / f"{index}.png"), image)
    (base,) = CONFIGS.glob("demo/resnet18_vbs-cur_*.py")
    path = tmp_path / "config.py"
    path.write_text(REAL.format(base=str(base), root=str(tmp_path)))
    config = Config.fromfile(path)
    config.work_dir = str(tmp_path / "run")
    config.custom_hooks[0].start_sizes = [32]
    config.default_hooks.checkpoint = None
    config.log_level = "ERROR"
    init_default_scope(config.default_scope)

    planned = config_plan(config)
    assert planned.samples == (22, str(tmp_path))
    model = with_model(config)
    counted = model_flops(model, planned.counted_as.values())
    cost = training_cost(planned, counted)

    runner = Runner.from_cfg(config)
    counter = FlopCounterMode(display=False)
    with counter:
        runner.train()
    assert runner.iter == planned.iterations
    assert set(planned.counted_as) == {(32, 32), (48, 48), (64, 64)}
    assert counter.get_total_flops() == pytest.approx(cost.flops, rel=1e-6)


def ratios(model, schedule, recipe, baseline, counted=None, **arguments):
    """A config's cost against its baseline's, on 8 ranks."""
    costs = []
    for name in (recipe, baseline):
        path = CONFIGS / f"{model}_{name}_{schedule}.py"
        config = Config.fromfile(path)
        planned = config_plan(config, world_size=8)
        if counted is None:
            network = with_model(config)
            # Both recipes' sizes; the fixed one is among them.
            sizes = planned.counted_as.values()
            counted = model_flops(network, sizes, **arguments)
        costs.append(training_cost(planned, counted))
    return cost_ratios(*costs), counted


def test_imagenet_as_published():
    pytest.importorskip("mmpretrain")
    model = "resnet/resnet50", "8xb128-600e_in1k"
    ratio, counted = ratios(*model, "vbs", "fbs")
    # 1 / mean(224^2 / s^2), with batches of whole images.
    sides = range(128, 321, 32)
    images = [128 * 224**2 // side**2 for side in sides]
    mean = sum(images) / len(images)
    assert ratio["iterations"] == pytest.approx(128 / mean, rel=1e-3)
    pixels = sum(n * s**2 for n, s in zip(images, sides)) / (sum(images) * 224**2)
    assert ratio["train_pixels"] == pytest.approx(pixels, rel=1e-3)
    assert ratio["train_flops"] == pytest.approx(0.76, abs=0.01)
    ratio, _ = ratios(*model, "vbs-cur", "fbs", counted)
    assert ratio["train_flops"] <= 0.70
    # He et al.: 4.1 GFLOPs forward at 224, counting products; the backward pass
    # has twice as many, but for the first layer's.
    first = 112 * 112 * 49 * 3 * 64
    assert counted.per_image[224, 224] == pytest.approx(
        2 * (3 * 4.1e9 - first), rel=0.01
    )


def test_coco_as_published():
    pytest.importorskip("mmdet")
    model = "mask_rcnn/mask-rcnn-r50-fpn", "8xb4-100e_coco"
    ratio, counted = ratios(*model, "vbs", "fbs")
    assert counted.rois == (512, 128)
    # Batches of whole images, four at 1024: less than the 0.60 of exact shares.
    sides = [512, 608, 672, 768, 864, 928, 1024, 1120, 1184, 1280]
    images = [4 * 1024**2 // side**2 for side in sides]
    pixels = sum(n * s**2 for n, s in zip(images, sides)) / (sum(images) * 1024**2)
    assert ratio["train_pixels"] == pytest.approx(pixels, rel=1e-3)
    assert 0.62 < ratio["train_flops"] <= 0.70
    ratio, _ = ratios(*model, "vbs-cur", "fbs", counted)
    assert ratio["train_flops"] <= 0.63
