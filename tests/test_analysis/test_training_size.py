"""Sizes of training images, found in pipelines."""

import pytest
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from toy_configs import plain, training

from mms_plugin.analysis import config_plan, counted_size, fixed_size

LOAD = dict(type="LoadImageFromFile")


@TRANSFORMS.register_module()
class ByAFactor(BaseTransform):
    """Takes a scale that is no size."""

    def __init__(self, scale=0.5):
        self.scale = scale

    def transform(self, results):
        return results


@pytest.mark.parametrize(
    ("pipeline", "counted", "assumed"),
    [
        ([dict(type="mmpretrain.RandomResizedCrop", scale=224)], (224, 224), ""),
        ([dict(type="mmdet.Resize", scale=(96, 64), keep_ratio=False)], (64, 96), ""),
        (
            [
                dict(type="mmdet.Mosaic", img_scale=(640, 640)),
                dict(type="mmdet.RandomAffine", border=(-320, -320)),
            ],
            (640, 640),
            "",
        ),
        # 4:3 within 1333 x 800: 800 high, 1066.7 wide.
        (
            [dict(type="mmdet.Resize", scale=(1333, 800), keep_ratio=True)],
            (800, 1067),
            "keeps the ratio within 1333 x 800",
        ),
        # What is exactly a square before it stays one: CenterNet.
        (
            [
                dict(type="mmdet.RandomCenterCropPad", crop_size=(512, 512)),
                dict(type="mmdet.Resize", scale=(384, 384), keep_ratio=True),
            ],
            (384, 384),
            "",
        ),
        (
            [
                dict(type="mmpretrain.ResizeEdge", scale=256, edge="short"),
                dict(type="mmpretrain.CenterCrop", crop_size=224),
            ],
            (224, 224),
            "",
        ),
        (
            [dict(type="mmpretrain.ResizeEdge", scale=240, edge="short")],
            (240, 320),
            "short edge only",
        ),
        (
            [dict(type="mmpretrain.ResizeEdge", scale=240, edge="long")],
            (180, 240),
            "long edge only",
        ),
        (
            [dict(type="mmdet.ResizeShortestEdge", scale=800, max_size=1333)],
            (800, 1067),
            "keeps the ratio within 1333 x 800",
        ),
        # Squares, as the transforms of mmpretrain give.
        ([dict(type="mmpretrain.EfficientNetRandomCrop", scale=224)], (224, 224), ""),
        (
            [dict(type="mmpretrain.EfficientNetCenterCrop", crop_size=224)],
            (224, 224),
            "",
        ),
        (
            [
                dict(type="mmpretrain.torchvision/Resize", size=[256]),
                dict(type="mmpretrain.torchvision/CenterCrop", size=[224]),
            ],
            (224, 224),
            "",
        ),
        (
            [dict(type="mmpretrain.torchvision/Resize", size=[240])],
            (240, 320),
            "short edge only",
        ),
        ([dict(type="mmpretrain.torchvision/Resize", size=[96, 64])], (96, 64), ""),
        # Colors change no size, wherever they are chosen.
        (
            [
                dict(type="mmpretrain.RandomResizedCrop", scale=224),
                dict(
                    type="RandomChoice",
                    transforms=[[dict(type="mmpretrain.ColorJitter")], []],
                ),
            ],
            (224, 224),
            "",
        ),
        (
            [
                dict(
                    type="RandomChoice",
                    transforms=[
                        [dict(type="mmpretrain.RandomResizedCrop", scale=224)],
                        dict(type="mmdet.Resize", scale=(224, 224), keep_ratio=False),
                    ],
                ),
            ],
            (224, 224),
            "",
        ),
        (
            [
                dict(
                    type="mmpretrain.MultiView",
                    num_views=2,
                    transforms=[[dict(type="mmpretrain.RandomResizedCrop", scale=96)]],
                )
            ],
            (96, 96),
            "",
        ),
        # YOLOX's padding to squares.
        (
            [
                dict(type="mmdet.Resize", scale=(64, 48), keep_ratio=True),
                dict(type="mmdet.Pad", pad_to_square=True),
            ],
            (64, 64),
            "",
        ),
        # Large-scale jitter, cropped to one size.
        (
            [
                dict(
                    type="mmdet.RandomResize",
                    scale=(64, 32),
                    ratio_range=(0.1, 2.0),
                    keep_ratio=True,
                ),
                dict(type="mmdet.RandomCrop", crop_size=(64, 32)),
            ],
            (32, 64),
            "",
        ),
        # An argument named scale may be a factor.
        (
            [
                dict(type="mmpretrain.Resize", scale=64),
                dict(type="ByAFactor", scale=0.5),
            ],
            (64, 64),
            "",
        ),
        (
            [
                dict(type="mmpretrain.Resize", scale=64),
                dict(type="ByAFactor", scale=(0.5, 2.0)),
            ],
            (64, 64),
            "",
        ),
    ],
)
def test_the_size_of_a_pipeline(pipeline, counted, assumed):
    pytest.importorskip("mmdet")
    pytest.importorskip("mmpretrain")
    planned = config_plan(plain(pipeline=[LOAD, *pipeline]), 8)
    # A batch has the size of the pipeline, within which an image may keep its ratio.
    size = (800, 1333) if "keeps the ratio" in assumed else counted
    assert planned.counted_as == {size: counted}
    assert set(planned.epochs[0].images) == {size}
    if assumed:
        assert assumed in planned.assumptions[0]
    else:
        assert planned.assumptions == []


@pytest.mark.parametrize(
    ("pipeline", "model", "message"),
    [
        ([], {}, "no transform of its pipeline sets one"),
        ([dict(type="OwnResize", scale=8)], {}, "OwnResize is not registered.*"),
        (
            [dict(type="mmdet.RandomChoiceResize", scales=[(8, 8), (9, 9)])],
            {},
            "RandomChoiceResize gives more than one",
        ),
        (
            [
                dict(
                    type="RandomApply",
                    transforms=[dict(type="mmdet.Resize", scale=(8, 8))],
                )
            ],
            {},
            "RandomApply gives more than one",
        ),
        (
            [dict(type="mmdet.ResizeShortestEdge", scale=[(8, 9)])],
            {},
            "ResizeShortestEdge gives more than one",
        ),
        (
            [
                dict(
                    type="mmpretrain.MultiView",
                    num_views=[2, 6],
                    transforms=[
                        [dict(type="mmpretrain.RandomResizedCrop", scale=side)]
                        for side in (224, 96)
                    ],
                )
            ],
            {},
            "MultiView gives more than one",
        ),
        (
            [dict(type="mmdet.Resize", scale=(8, 8))],
            dict(
                data_preprocessor=dict(
                    batch_augments=[dict(type="BatchSyncRandomResize")]
                )
            ),
            "BatchSyncRandomResize gives more than one",
        ),
    ],
)
def test_a_pipeline_without_one_size(pipeline, model, message):
    pytest.importorskip("mmdet")
    with pytest.raises(ValueError, match=f"{message}.* set base_size"):
        config_plan(plain(pipeline=pipeline, model=model), 8)


def test_a_classifiers_mixup_is_a_mapping():
    augments = dict(augments=[dict(type="Mixup", alpha=0.2)])
    pytest.importorskip("mmpretrain")
    config = plain(pipeline=[dict(type="mmpretrain.RandomResizedCrop", scale=24)])
    config.data_preprocessor = dict(batch_augments=augments)
    assert fixed_size(config)[0] == (24, 24)


@pytest.mark.parametrize("other, alike", [(8, True), (16, False)])
def test_the_size_of_datasets_side_by_side(other, alike):
    pytest.importorskip("mmcv")
    config = plain()
    parts = [
        dict(
            type="ToyDataset",
            pipeline=[dict(type="mmcv.Resize", scale=(side, side), keep_ratio=False)],
        )
        for side in (8, other)
    ]
    config.train_dataloader.dataset = dict(type="ConcatDataset", datasets=parts)
    if alike:
        assert fixed_size(config) == ((8, 8), (8, 8))
    else:
        with pytest.raises(ValueError, match="ConcatDataset gives more than one"):
            fixed_size(config)


def test_sizes_that_keep_the_ratio():
    pytest.importorskip("mmdet")
    resize = dict(type="mmdet.Resize", keep_ratio=True)
    dataset = dict(
        type="MultiScaleDataset",
        dataset=dict(
            type="ToyDataset",
            pipeline=[dict(type="MultiScaleTransform", transform=resize)],
        ),
    )
    config = training(base_size=80, sizes=[40, [60, 80]], loader=dict(dataset=dataset))
    planned = config_plan(config, 50)
    assert planned.counted_as == {(40, 40): (30, 40), (60, 80): (60, 80)}
    assert "4:3" in planned.assumptions[0]


CROP = dict(type="mmdet.RandomCrop", crop_size=(384, 600))
CENTER_CROP = dict(type="mmdet.RandomCenterCropPad", crop_size=(512, 512))
EXACT = dict(type="MultiScaleTransform", transform=dict(type="mmdet.Resize"))
KEEPS = dict(
    type="MultiScaleTransform", transform=dict(type="mmdet.Resize", keep_ratio=True)
)
SHORTEST = dict(
    type="MultiScaleTransform",
    transform=dict(type="mmdet.ResizeShortestEdge"),
    size_arg=("scale", "max_size"),
    order="hw",
)


def choice(*branches):
    return dict(type="RandomChoice", transforms=list(branches))


@pytest.mark.parametrize(
    "pipeline, width",
    [
        ([KEEPS], 80),  # 4:3 with a height of 60
        ([SHORTEST], 80),
        ([choice([KEEPS], [CROP, KEEPS])], 80),  # DETR
        ([KEEPS, choice([dict(type="mmdet.PhotoMetricDistortion")], [])], 80),
        ([EXACT], 100),
        ([choice([KEEPS], [EXACT])], 100),
        ([KEEPS, EXACT], 100),
        ([CENTER_CROP, KEEPS], 100),
        ([EXACT, KEEPS, dict(type="mmdet.Pad", pad_to_square=True)], 100),  # YOLOX
    ],
)
def test_which_pipelines_keep_the_ratio(pipeline, width):
    dataset = dict(
        type="MultiScaleDataset", dataset=dict(type="ToyDataset", pipeline=pipeline)
    )
    config = training(base_size=[60, 100], sizes=[[60, 100]])
    config.train_dataloader.dataset = dataset
    assert counted_size(config, (60, 100)) == (60, width)
    assert config_plan(config, 8).counted_as == {(60, 100): (60, width)}
