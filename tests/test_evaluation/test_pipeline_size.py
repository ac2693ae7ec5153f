import copy
import math

import pytest

from mms_plugin.evaluation.pipeline_size import (
    change_pipelines,
    describe_sizes,
    pipeline_at_size,
    pipeline_size,
)

LOAD = dict(type="LoadImageFromFile")
PACK = dict(type="PackInputs")


def at(transforms, size):
    """The transforms at a size, without the loading and packing around them."""
    pipeline = [LOAD, *transforms, PACK]
    before = copy.deepcopy(pipeline)
    changed = pipeline_at_size(pipeline, size)
    assert pipeline == before
    assert changed[0] == LOAD and changed[-1] == PACK
    assert pipeline_size(changed) == size
    return changed[1:-1]


CASES = [
    # ImageNet: 256 * 160 / 224 = 182.86.
    (
        [dict(type="ResizeEdge", scale=256, edge="short"),
         dict(type="CenterCrop", crop_size=224)],
        224, 160,
        [dict(type="ResizeEdge", scale=183, edge="short"),
         dict(type="CenterCrop", crop_size=160)],
    ),
    # mmdet's: 1333 * 640 / 800 = 1066.4.
    (
        [dict(type="Resize", scale=(1333, 800), keep_ratio=True)],
        800, 640,
        [dict(type="Resize", scale=(1066, 640), keep_ratio=True)],
    ),
    ([dict(type="Resize", scale=64)], 64, 96, [dict(type="Resize", scale=96)]),
    ([dict(type="mmpretrain.Resize", scale=[64, 48])], 48, 24,
     [dict(type="mmpretrain.Resize", scale=[32, 24])]),
    # YOLOX: the padding makes the size, the divisor and the value stay.
    (
        [dict(type="Resize", scale=(640, 640), keep_ratio=True),
         dict(type="Pad", size=(640, 640), pad_val=dict(img=114))],
        640, 320,
        [dict(type="Resize", scale=(320, 320), keep_ratio=True),
         dict(type="Pad", size=(320, 320), pad_val=dict(img=114))],
    ),
    (
        [dict(type="Resize", scale=(600, 400), keep_ratio=True),
         dict(type="Pad", size_divisor=32)],
        400, 200,
        [dict(type="Resize", scale=(300, 200), keep_ratio=True),
         dict(type="Pad", size_divisor=32)],
    ),
    ([dict(type="Resize", scale=(math.inf, 800), keep_ratio=True)], 800, 400,
     [dict(type="Resize", scale=(math.inf, 400), keep_ratio=True)]),
    ([dict(type="Resize", scale=(-1, 256))], 256, 128,
     [dict(type="Resize", scale=(-1, 128))]),
    ([dict(type="EfficientNetCenterCrop", crop_size=224, crop_padding=32)], 224, 112,
     [dict(type="EfficientNetCenterCrop", crop_size=112, crop_padding=16)]),
    (
        [dict(type="torchvision/Resize", size=232),
         dict(type="torchvision/CenterCrop", size=224)],
        224, 448,
        [dict(type="torchvision/Resize", size=464),
         dict(type="torchvision/CenterCrop", size=448)],
    ),
    ([dict(type="torchvision/Resize", size=200, max_size=300)], 200, 100,
     [dict(type="torchvision/Resize", size=100, max_size=150)]),
    ([dict(type="FixShapeResize", width=640, height=480)], 480, 240,
     [dict(type="FixShapeResize", width=320, height=240)]),
    ([dict(type="FixScaleResize", scale=(800, 1333), keep_ratio=True)], 800, 400,
     [dict(type="FixScaleResize", scale=(400, 666), keep_ratio=True)]),
    ([dict(type="ResizeShortestEdge", scale=800, max_size=1333)], 800, 400,
     [dict(type="ResizeShortestEdge", scale=400, max_size=666)]),
]  # fmt: skip


@pytest.mark.parametrize("transforms, size, target, expected", CASES)
def test_every_size_is_scaled_alike(transforms, size, target, expected):
    assert pipeline_size([LOAD, *transforms, PACK]) == size
    assert at(transforms, target) == expected
    assert at(transforms, size) == transforms


@pytest.mark.parametrize("transforms, size, target, expected", CASES)
def test_the_share_that_is_cropped_stays(transforms, size, target, expected):
    for size in (32, 100, 1000):
        changed = at(transforms, size)
        if transforms[0]["type"] == "ResizeEdge":
            ratio = changed[0]["scale"] / changed[1]["crop_size"]
            assert ratio == pytest.approx(256 / 224, abs=0.02)
            assert changed[0]["scale"] >= changed[1]["crop_size"]


@pytest.mark.parametrize(
    "transforms",
    [
        [],
        [dict(type="Resize", scale_factor=0.5)],
        [dict(type="Pad", size_divisor=32)],
        [dict(type="MyOwnResize", scale=64)],
    ],
)
def test_no_size(transforms):
    with pytest.raises(ValueError, match=r"no size .*LoadImageFromFile.*PackInputs"):
        pipeline_at_size([LOAD, *transforms, PACK], 64)


@pytest.mark.parametrize("size", [0, -3, 1.5, True, "64"])
def test_bad_size(size):
    with pytest.raises(ValueError, match="size must .*above 0"):
        pipeline_at_size([dict(type="Resize", scale=64)], size)


def test_a_default_in_pixels_is_scaled():
    changed = at([dict(type="EfficientNetCenterCrop", crop_size=224)], 448)
    expected = dict(type="EfficientNetCenterCrop", crop_size=448, crop_padding=64)
    assert changed == [expected]


def test_description():
    pipeline = [LOAD, *CASES[0][0], PACK]
    text = describe_sizes(pipeline_at_size(pipeline, 160))
    assert text == "ResizeEdge(scale=183), CenterCrop(crop_size=160)"


def test_pipelines_of_wrappers():
    inner = dict(type="A", pipeline=[dict(type="Resize", scale=8)])
    other = dict(type="B", pipeline=[dict(type="Resize", scale=4)])
    wrapped = dict(
        type="ConcatDataset",
        datasets=[inner, dict(type="RepeatDataset", times=2, dataset=other)],
    )
    changed = change_pipelines(wrapped, lambda pipeline: pipeline_at_size(pipeline, 16))
    assert changed["datasets"][0]["pipeline"] == [dict(type="Resize", scale=16)]
    assert changed["datasets"][1]["dataset"]["pipeline"][0]["scale"] == 16
    assert changed["datasets"][1]["times"] == 2
    assert inner["pipeline"][0]["scale"] == 8
    with pytest.raises(ValueError, match="CocoDataset has no pipeline"):
        change_pipelines(dict(type="CocoDataset"), list)


def test_the_libraries_own_configs():
    pytest.importorskip("mmdet")
    pytest.importorskip("mmpretrain")
    from mmengine.hub import get_config

    expected = {
        "mmpretrain::resnet/resnet50_8xb32_in1k.py": 224,
        "mmpretrain::efficientnet/efficientnet-b0_8xb32_in1k.py": 224,
        "mmpretrain::convnext/convnext-tiny_32xb128_in1k.py": 224,
        "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py": 800,
        "mmdet::yolox/yolox_s_8xb8-300e_coco.py": 640,
        "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py": 640,
        "mmdet::detr/detr_r50_8xb2-150e_coco.py": 800,
    }
    for name, size in expected.items():
        pipelines = []
        dataset = get_config(name).test_dataloader.dataset
        change_pipelines(dataset, lambda p, to=pipelines: to.append(p) or p)
        assert [pipeline_size(p) for p in pipelines] == [size], name
        assert pipeline_size(pipeline_at_size(pipelines[0], 2 * size)) == 2 * size
