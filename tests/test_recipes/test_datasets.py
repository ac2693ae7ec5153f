"""Datasets inside wrappers."""

import pytest
from single_scale_configs import DETECT, detection, with_transform

from mms_plugin.recipes import RecipeError, vbs_recipe


def test_all_members_of_a_concatenation():
    members = [
        dict(type="VOC", pipeline=DETECT),
        dict(type="COCO", pipeline=DETECT),
    ]
    dataset = dict(
        type="RepeatDataset",
        times=2,
        dataset=dict(type="ConcatDataset", datasets=members),
    )
    after = vbs_recipe(detection(dataset=dataset))["train_dataloader"]["dataset"]
    assert after["type"] == "MultiScaleDataset"
    assert after["dataset"]["times"] == 2
    for member in after["dataset"]["dataset"]["datasets"]:
        assert member["pipeline"][2]["type"] == "MultiScaleTransform"
    assert members[0]["pipeline"] is DETECT


@pytest.mark.parametrize("own", [dict(dataset="voc"), dict(datasets=["a", "b"])])
def test_an_argument_that_names_a_dataset(own):
    dataset = dict(type="Mine", pipeline=DETECT, **own)
    after = vbs_recipe(detection(dataset=dataset))["train_dataloader"]["dataset"]
    assert after["dataset"]["pipeline"][2]["type"] == "MultiScaleTransform"
    assert own.items() <= after["dataset"].items()


def test_members_of_different_sizes():
    other = with_transform(2, dict(type="Resize", scale=(640, 640)))
    members = [dict(type="VOC", pipeline=DETECT), dict(type="COCO", pipeline=other)]
    dataset = dict(type="ConcatDataset", datasets=members)
    with pytest.raises(RecipeError, match="640x640, but .*datasets.0.*800x1333"):
        vbs_recipe(detection(dataset=dataset))
