"""The size of the test pipeline."""

import pytest
from single_scale_configs import detection

from mms_plugin.recipes import RecipeError, vbs_recipe
from mms_plugin.recipes.evaluation_size import evaluation_size

CHOICE = dict(
    type="RandomChoiceResize", scales=[(1333, 640), (1333, 800)], keep_ratio=True
)


def loader(*transforms):
    return dict(dataset=dict(type="CocoDataset", pipeline=list(transforms)))


@pytest.mark.parametrize(
    "transforms, size",
    [
        ([dict(type="Resize", scale=(1333, 800), keep_ratio=True)], (800, 1333)),
        ([dict(type="Resize", scale=(640, 512))], (512, 640)),
        ([dict(type="ResizeEdge", scale=256), dict(type="CenterCrop", crop_size=224)],
         (224, 224)),
        ([dict(type="LoadImageFromFile")], None),
        ([CHOICE], None),
        ([dict(type="Resize", scale="large")], None),
    ],
)  # fmt: skip
def test_the_last_size_of_the_pipeline(transforms, size):
    config = dict(default_scope="mmpretrain", val_dataloader=loader(*transforms))
    assert evaluation_size(config) == size


def test_the_first_loader_with_a_size():
    small, large = (dict(type="Resize", scale=(s, s)) for s in (320, 640))
    config = dict(val_dataloader=None, test_dataloader=[loader(), loader(small)])
    assert evaluation_size(config) == (320, 320)
    assert evaluation_size(dict(config, val_dataloader=loader(large))) == (640, 640)
    assert evaluation_size({}) is None


def test_without_a_test_size_it_must_be_named():
    pipeline = [dict(type="LoadImageFromFile"), CHOICE, dict(type="PackDetInputs")]
    with pytest.raises(RecipeError, match="base_size=") as error:
        vbs_recipe(detection(pipeline), check_model=False)
    assert error.value.place == "train_dataloader.dataset.pipeline[1]"
    after = vbs_recipe(detection(pipeline), check_model=False, base_size=(800, 1333))
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == (800, 1333)
    evaluated = detection(
        pipeline,
        test_dataloader=loader(dict(type="Resize", scale=(1333, 640), keep_ratio=True)),
    )
    after = vbs_recipe(evaluated, check_model=False)
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == (640, 1333)
