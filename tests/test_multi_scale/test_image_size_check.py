"""Images that do not have the size of their batch are told of."""

import logging
from types import SimpleNamespace

import pytest
import torch
import toys
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS

from mms_plugin.multi_scale.image_size_check import (
    ImageSizeCheck,
    is_larger,
    sizes_in_batch,
)

HOOK = dict(type="MultiScaleSamplerHook")


class PadsToOneSize(BaseDataPreprocessor):
    """As mmseg's, as far as it matters here."""

    size = (12, 12)


@MODELS.register_module()
class ResizesTo(BaseDataPreprocessor):
    """As mmdet's with ``BatchResize``, as far as it matters here."""

    def __init__(self, scale):
        super().__init__()


def warnings_of(make_runner, caplog, pipeline, **changes):
    dataset = dict(type="ToyDataset", num=40, pipeline=pipeline)
    runner = make_runner(
        train_dataloader=toys.train_dataloader(dataset=dataset, sizes=[4, 6, 12]),
        train_cfg=dict(by_epoch=True, max_epochs=2),
        custom_hooks=[HOOK],
        **changes,
    )
    runner.logger.addHandler(caplog.handler)
    runner.train()
    return [r.getMessage() for r in caplog.records if "A batch of" in r.getMessage()]


def test_pixels_that_follow_the_size(make_runner, caplog):
    assert warnings_of(make_runner, caplog, toys.PIPELINE) == []


def test_a_pipeline_of_one_size_is_told_of_once_for_each_size(make_runner, caplog):
    pipeline = [dict(type="MakeImage", scale=(12, 12)), dict(type="CollectToy")]
    found = warnings_of(make_runner, caplog, pipeline)
    assert sorted(text[:40] for text in found) == [
        "A batch of 4x4 has an image of 12x12: no",
        "A batch of 6x6 has an image of 12x12: no",
    ]


def test_a_preprocessor_that_pads_to_one_size_is_told_of(make_runner, caplog):
    preprocessor = MODELS.build(dict(type=PadsToOneSize))
    found = warnings_of(
        make_runner, caplog, toys.PIPELINE,
        model=dict(type="ToyModel", data_preprocessor=preprocessor),
    )  # fmt: skip
    assert sorted(text[:35] for text in found) == [
        "A batch of 4x4 is padded or resized",
        "A batch of 6x6 is padded or resized",
    ]
    assert "to 12x12 by the data preprocessor" in found[0]
    assert "type='MultiScaleDataPreprocessor'" in found[0]
    assert "size_arg='size')" in found[0]


@pytest.mark.parametrize("name", ["BatchFixedSizePad", "BatchResize"])
def test_batch_augmentations_of_one_size_are_told_of(caplog, name):
    pytest.importorskip("mmdet.models")
    argument = "size" if name == "BatchFixedSizePad" else "scale"
    augment = {"type": f"mmdet.{name}", argument: (12, 16)}
    preprocessor = MODELS.build(
        dict(type="mmdet.DetDataPreprocessor", batch_augments=[augment])
    )
    runner = SimpleNamespace(
        cfg={},
        model=SimpleNamespace(data_preprocessor=preprocessor),
        logger=logging.getLogger("test_image_size_check"),
    )
    check = ImageSizeCheck()
    for side in (6, 6, 12):
        check(runner, (side, side), dict(inputs=[torch.zeros(3, side, side)]))
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.startswith("A batch of 6x6 is padded or resized to 12x16 by the data")
    assert text.endswith(f"size_arg='batch_augments.0.{argument}')")


def test_images_that_the_preprocessor_resizes(make_runner, caplog):
    wrapped = dict(
        type="MultiScaleDataPreprocessor",
        preprocessor=dict(type="ResizesTo", scale=(12, 12)),
        size_arg="scale",
    )
    pipeline = [dict(type="MakeImage", scale=(12, 12)), dict(type="CollectToy")]
    model = dict(type="ToyModel", data_preprocessor=wrapped)
    assert warnings_of(make_runner, caplog, pipeline, model=model) == []


@pytest.mark.parametrize(
    "image, size, divisor, larger",
    [
        ((32, 32), (32, 32), 1, False),
        ((21, 32), (32, 32), 1, False),
        ((33, 40), (32, 32), 1, False),  # rounded up
        ((64, 64), (32, 32), 1, True),
        ((64, 64), (40, 64), 32, False),  # padded to a multiple of 32
        ((96, 96), (40, 64), 32, True),
    ],
)
def test_is_larger(image, size, divisor, larger):
    assert is_larger(image, size, divisor) is larger


def test_sizes_in_batch():
    images = [torch.zeros(3, 4, 6), torch.zeros(3, 5, 5)]
    assert list(sizes_in_batch(dict(inputs=images))) == [(4, 6), (5, 5)]
    views = [torch.zeros(2, 3, 4, 6), torch.zeros(2, 3, 8, 8)]
    assert list(sizes_in_batch(dict(inputs=views))) == [(4, 6), (8, 8)]
    assert list(sizes_in_batch(dict(data_samples=[]))) == []
