"""Batch sizes by the FLOPs of a library's own model."""

import pytest
from mmengine.hub import get_config
from mmengine.registry import DefaultScope

from mms_plugin.analysis import build_model, model_flops
from mms_plugin.multi_scale import GrowingSizes
from mms_plugin.recipes import RecipeError, apply_recipes

MASK_RCNN = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
RESNET = "mmpretrain::resnet/resnet18_8xb32_in1k.py"


def library_config(path):
    pytest.importorskip(path.split("::")[0])
    config = get_config(path)
    config.train_dataloader.batch_size = 40  # so that rounding hardly matters
    return config


def sampler_of(config, **options):
    """The sampler's config, and the lines of the report."""
    lines = []
    after = apply_recipes(
        config,
        "vbs-cur",
        dict(cost_model="flops", check_model=False, **options),
        lambda name, line: lines.append(line),
    )
    return after.train_dataloader.batch_sampler, lines


@pytest.mark.parametrize("positive_rois", [None, 0])
def test_batches_of_a_detector_take_equal_flops(positive_rois):
    config = library_config(MASK_RCNN)
    options = {} if positive_rois is None else dict(positive_rois=positive_rois)
    sizes = [(512, 512), (640, 640), (800, 800), (1024, 1024)]
    sampler, lines = sampler_of(config, base_size=800, sizes=sizes, **options)
    with DefaultScope.overwrite_default_scope("mmdet"):
        flops = model_flops(build_model(config), sizes, positive_rois).per_image
    schedule = GrowingSizes(
        40, 800, sizes=sizes, cost_model=dict(sampler["cost_model"])
    )
    base = 40 * flops[800, 800]
    for size, images in zip(schedule.sizes, schedule.batch_sizes):
        # Rounding down costs up to an image; FLOPs do not lie on a line exactly.
        assert 0.95 * base - flops[size] < images * flops[size] < 1.01 * base
        pixels = 40 * 800 * 800 // (size[0] * size[1])
        assert images < pixels or size[0] >= 800
    beta = f"{sampler['cost_model']['beta']:,.10g}"
    assert any(
        f"each image costs as much as {beta} pixels more than" in line for line in lines
    )


def test_a_classifier_keeps_the_pixel_budget():
    pixels = apply_recipes(library_config(RESNET), "vbs", dict(check_model=False))
    lines = []
    counted = apply_recipes(
        library_config(RESNET),
        "vbs",
        dict(check_model=False, cost_model="flops"),
        lambda name, line: lines.append(line),
    )
    sampler = counted.train_dataloader.batch_sampler
    assert sampler["cost_model"]["beta"] < 100
    assert sampler["sizes"] == pixels.train_dataloader.batch_sampler["sizes"]
    images = [
        next(line for line in lines if line.startswith("images per rank and batch"))
    ]
    assert "128x128: 122" in images[0]  # 40 * 224 * 224 / (128 * 128)


def test_a_model_that_the_recipe_changes():
    """Swin's feature map at 128 is smaller than its window, which must be padded."""
    config = library_config("mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py")
    options = dict(cost_model="flops", sizes=[128, 224])
    after = apply_recipes(config, "vbs", options)
    assert after.model.backbone.pad_small_map
    # Windows of 7 x 7: a stage of 32, 16, 8 or 4 cells a side is padded to 35, 21, 14
    # or 7, so an image of 128 costs more than its pixels say.
    assert after.train_dataloader.batch_sampler.cost_model["beta"] > 4000


def test_with_a_budget():
    config = library_config(RESNET)
    options = dict(budget=0.7, num_samples=20_000)
    sampler, lines = sampler_of(config, **options)
    assert sampler["cost_model"]["alpha"] == 1.0
    assert any(line.startswith("predicted cost: 0.70") for line in lines)


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(cost_model="flops", batch_sizes=[1]), "batch_sizes=.* must be left out"),
        (dict(cost_model="flops", variable_batch=False), "variable_batch=False must"),
        (dict(cost_model="flop"), "cost_model must be 'flops' or dict.* 'flop'"),
        (
            dict(cost_model="flops", sizes=[224], check_model=False),
            "needs sizes with different numbers of pixels, but got 224x224; leave",
        ),
        (
            dict(cost_model="flops", sizes=[[128, 256], [256, 128]], check_model=False),
            "but got 128x256, 256x128",
        ),
        (dict(positive_rois=3), "positive_rois=3 needs cost_model='flops' or budget"),
        (
            dict(positive_rois=3, budget=0.7, estimate="pixels"),
            "positive_rois=3 needs .* budget=B without times and estimate",
        ),
        (dict(positive_rois=3, budget=0.7, times="t.json"), "positive_rois=3 needs"),
    ],
)
def test_bad_input(options, words):
    with pytest.raises(ValueError, match=words):
        apply_recipes(library_config(RESNET), "vbs-cur", options)


def test_a_model_that_cannot_be_counted(monkeypatch):
    from mms_plugin.recipes import counted_flops as module

    def fail(*arguments, **options):
        raise module.UncountedError("model.backbone is not known to the counter")

    monkeypatch.setattr(module, "model_flops", fail)
    with pytest.raises(RecipeError, match="backbone .* does without"):
        apply_recipes(library_config(RESNET), "vbs", dict(cost_model="flops"))
