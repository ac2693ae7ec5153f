"""Data preprocessors that pad or resize a batch."""

import pytest
from single_scale_configs import DETECT, detection, pipeline_of, twin, with_transform

from mms_plugin.recipes import RecipeError, vbs_recipe


def test_lsj():
    resize = dict(
        type="RandomResize",
        scale=(1024, 1024),
        ratio_range=(0.1, 2.0),
        keep_ratio=True,
    )
    crop = dict(
        type="RandomCrop",
        crop_type="absolute_range",
        crop_size=(1024, 1024),
        recompute_bbox=True,
    )
    config = detection([*DETECT[:2], resize, crop, *DETECT[3:]])
    pad = dict(type="BatchFixedSizePad", size=(1024, 1024), pad_mask=True)
    preprocessor = config["model"]["data_preprocessor"]
    preprocessor["batch_augments"] = [pad]
    after = vbs_recipe(config)
    assert pipeline_of(after)[2:4] == [
        twin({k: v for k, v in resize.items() if k != "scale"}),
        twin({k: v for k, v in crop.items() if k != "crop_size"}),
    ]
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == 1024
    # Nothing is padded to 1024 at 512; the masks are still padded.
    assert after["model"]["data_preprocessor"] == dict(
        type="DetDataPreprocessor",
        pad_size_divisor=32,
        batch_augments=None,
        pad_mask=True,
    )
    pad["size"] = (2048, 2048)
    with pytest.raises(RecipeError, match="BatchFixedSizePad makes every batch"):
        vbs_recipe(config)


def test_sync_random_resize_gives_its_range():
    resize = dict(type="Resize", scale=(640, 640), keep_ratio=True)
    config = detection(with_transform(2, resize))
    preprocessor = config["model"]["data_preprocessor"]
    preprocessor["batch_augments"] = [
        dict(type="Other"),
        dict(
            type="BatchSyncRandomResize",
            random_size_range=(480, 800),
            size_divisor=32,
            interval=10,
        ),
    ]
    after = vbs_recipe(config)
    assert after["train_dataloader"]["batch_sampler"]["sizes"] == list(
        range(480, 801, 32)
    )
    assert after["model"]["data_preprocessor"]["batch_augments"] == [dict(type="Other")]
    assert len(preprocessor["batch_augments"]) == 2
    after = vbs_recipe(config, sizes=[320, 640])
    assert after["train_dataloader"]["batch_sampler"]["sizes"] == [320, 640]


def test_a_preprocessor_of_one_size_is_at_the_batchs():
    crop = dict(type="RandomCrop", crop_size=(512, 1024))
    jitter = dict(
        type="RandomResize",
        scale=(2048, 1024),
        ratio_range=(0.5, 2.0),
        keep_ratio=True,
    )
    own = dict(type="SegDataPreProcessor", size=(512, 1024), pad_val=0)
    before = detection(
        [*DETECT[:2], jitter, crop, *DETECT[3:]],
        model=dict(type="X", data_preprocessor=own),
        default_scope="mmseg",
    )
    after = vbs_recipe(before, check_model=False)
    assert after["model"]["data_preprocessor"] == dict(
        type="MultiScaleDataPreprocessor", preprocessor=own
    )
    own["size"] = (1024, 1024)
    after = vbs_recipe(before, check_model=False)
    assert after["model"]["data_preprocessor"]["size_ratio"] == [2.0, 1.0]


def test_batch_resize_gives_the_size():
    augment = dict(type="BatchResize", scale=(1400, 800), pad_size_divisor=64)
    own = dict(
        type="DetDataPreprocessor", pad_size_divisor=64, batch_augments=[augment]
    )
    without_resize = [*DETECT[:2], *DETECT[3:]]
    before = detection(without_resize, model=dict(type="X", data_preprocessor=own))
    after = vbs_recipe(before, check_model=False)
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == (800, 1400)
    assert after["model"]["data_preprocessor"] == dict(
        type="MultiScaleDataPreprocessor",
        preprocessor=own,
        size_arg="batch_augments.0.scale",
    )
