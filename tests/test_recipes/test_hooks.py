"""Hooks that switch pipelines or skip transforms."""

import pytest
from single_scale_configs import (
    CLASSIFY,
    DETECT,
    classification,
    detection,
    pipeline_of,
    twin,
    with_transform,
)

from mms_plugin.recipes import RecipeError, vbs_recipe


def test_mosaic_and_the_hook_that_ends_it():
    outer = [
        dict(type="Mosaic", img_scale=(640, 640), pad_val=114.0),
        dict(type="RandomAffine", border=(-320, -320)),
        dict(type="MixUp", img_scale=(640, 640)),
        dict(type="Resize", scale=(640, 640), keep_ratio=True),
        dict(type="PackDetInputs"),
    ]
    dataset = dict(
        type="MultiImageMixDataset",
        dataset=dict(type="CocoDataset", pipeline=DETECT[:2]),
        pipeline=outer,
        skip_type_keys=["MixUp", "RandomFlip"],
    )
    hooks = [dict(type="YOLOXModeSwitchHook", num_last_epochs=15)]
    after = vbs_recipe(detection(dataset=dataset, custom_hooks=hooks))
    mixed = after["train_dataloader"]["dataset"]["dataset"]
    assert mixed["dataset"]["pipeline"] == DETECT[:2]
    assert mixed["pipeline"] == [
        dict(type="MultiScaleMosaic", pad_val=114.0),
        dict(type="MultiScaleRandomAffine", size_ratio=-0.5),
        dict(type="MultiScaleMixUp"),
        twin(dict(type="Resize", keep_ratio=True)),
        dict(type="PackDetInputs"),
    ]
    assert mixed["skip_type_keys"] == ["MultiScaleMixUp", "RandomFlip"]
    assert after["custom_hooks"][0]["skip_type_keys"] == [
        "MultiScaleMosaic", "MultiScaleRandomAffine", "MultiScaleMixUp",
    ]  # fmt: skip
    assert hooks == [dict(type="YOLOXModeSwitchHook", num_last_epochs=15)]


def test_pipelines_that_hooks_switch_to():
    switched = [*DETECT[:3], DETECT[-1]]
    config = detection(
        custom_hooks=[
            dict(type="PipelineSwitchHook", switch_epoch=9, switch_pipeline=switched),
            dict(
                type="SwitchRecipeHook",
                schedule=[dict(action_epoch=3, train_pipeline=switched)],
            ),
        ],
        train_pipeline_stage2=switched,
    )
    after = vbs_recipe(config)
    new = with_transform(2, twin(dict(type="Resize", keep_ratio=True)), switched)
    hooks = after["custom_hooks"]
    assert hooks[0]["switch_pipeline"] == new
    assert hooks[1]["schedule"][0] == dict(action_epoch=3, train_pipeline=new)
    assert after["train_pipeline_stage2"] == new
    assert config["custom_hooks"][1]["schedule"][0]["train_pipeline"] is switched


def test_a_hook_that_grows_the_size_itself_to_a_size_that_is_not_tested():
    other = with_transform(1, dict(type="RandomResizedCrop", scale=256), CLASSIFY)
    schedule = [dict(action_epoch=9, pipeline=other)]
    hooks = [dict(type="SwitchRecipeHook", schedule=schedule)]
    config = classification(custom_hooks=hooks, val_dataloader=None)
    with pytest.raises(RecipeError, match="256x256, but .* 224x224") as error:
        vbs_recipe(config)
    assert error.value.place == "custom_hooks[0].schedule[0].pipeline[1]"


def test_its_sizes_are_the_samplers_where_the_test_pipeline_has_the_base():
    pipelines = [
        with_transform(1, dict(type="RandomResizedCrop", scale=size), CLASSIFY)
        for size in (160, 192, 256)
    ]
    schedule = [
        dict(action_epoch=epoch, train_pipeline=pipeline)
        for epoch, pipeline in zip((5, 9), pipelines[1:])
    ]
    # Another transform of the last pipeline keeps its ratio to the size of that one.
    edge = dict(type="ResizeEdge", scale=320, edge="short")
    pipelines[2].insert(1, edge)
    config = classification(
        pipelines[0], custom_hooks=[dict(type="SwitchRecipeHook", schedule=schedule)]
    )
    crop = dict(type="CenterCrop", crop_size=256)
    config["val_dataloader"]["dataset"] = dict(type="ImageNet", pipeline=[crop])
    after = vbs_recipe(config)
    sampler = after["train_dataloader"]["batch_sampler"]
    assert (sampler["base_size"], sampler["sizes"]) == (256, [160, 192, 256])
    new = twin(dict(type="RandomResizedCrop"))
    assert pipeline_of(after)[1] == new
    recipes = after["custom_hooks"][0]["schedule"]
    assert recipes[0]["train_pipeline"][1] == new
    assert recipes[1]["train_pipeline"][1:3] == [
        twin(dict(type="ResizeEdge", edge="short"), size_ratio=1.25),
        new,
    ]


def test_precise_batch_norm_at_the_base_size():
    hooks = [dict(type="PreciseBNHook", num_samples=1000, priority="ABOVE_NORMAL")]
    lines = []
    after = vbs_recipe(classification(custom_hooks=hooks), report=lines.append)
    assert after["custom_hooks"] == [
        dict(type="BaseSizeBatchNormHook", num_batches=31),  # of 32 images
        dict(type="MultiScaleSamplerHook"),
    ]
    assert any(line.startswith("custom_hooks[0]: PreciseBNHook -> ") for line in lines)
    short = vbs_recipe(classification(custom_hooks=[dict(hooks[0], num_samples=9)]))
    assert short["custom_hooks"][0]["num_batches"] == 1
