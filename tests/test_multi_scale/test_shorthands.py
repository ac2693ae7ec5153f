"""The shorthands build the transform of their name, with its arguments."""

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope

import mms_plugin  # noqa: F401

NAMES = ("Resize", "RandomCrop", "RandomResizedCrop", "Pad")


@pytest.mark.parametrize("name", NAMES)
def test_shorthands(name):
    pytest.importorskip("mmpretrain").utils.register_all_modules(False)
    size = (64, 80) if name == "Pad" else (24, 32)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        transform = TRANSFORMS.build(dict(type=f"MultiScale{name}"))
        image = np.zeros((48, 64, 3), np.uint8)
        results = dict(img=image, img_shape=(48, 64), ori_shape=(48, 64))
        assert transform({**results, "target_size": size})["img"].shape[:2] == size


@pytest.mark.parametrize(
    "name", ["Resize", "RandomCrop", "Pad", "Mosaic", "MixUp", "RandomAffine"]
)
def test_arguments_go_to_the_transform_or_to_the_wrapper(name):
    pytest.importorskip("mmdet").utils.register_all_modules(False)
    arguments = dict(bbox_clip_border=False) if name != "Pad" else dict(pad_val=7)
    with DefaultScope.overwrite_default_scope("mmdet"):
        short = TRANSFORMS.build(
            dict(type=f"MultiScale{name}", size_ratio=2, min_box_side=0, **arguments)
        )
        long = TRANSFORMS.build(
            dict(
                type="MultiScaleTransform",
                transform=dict(type=name, **arguments),
                size_ratio=2,
                min_box_side=0,
            )
        )
    assert short.config_at((32, 48)) == long.config_at((32, 48))
    assert (short.size_ratio, short.min_box_side) == ((2.0, 2.0), 0)
