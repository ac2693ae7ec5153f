"""How a transform's size is read from its config and set by the batch."""

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


def test_without_a_size():
    pad = dict(type="Pad", size_divisor=32)
    crop = dict(type="RandomCrop", crop_type="relative", crop_size=(0.5, 0.5))
    after = vbs_recipe(detection([*DETECT[:3], pad, crop, DETECT[-1]]))
    assert pipeline_of(after)[3:5] == [pad, crop]


def test_scope_of_the_transform():
    resize = dict(type="Resize", scale=(1333, 800), keep_ratio=True, _scope_="a")
    after = vbs_recipe(detection(with_transform(2, resize)))
    assert pipeline_of(after)[2] == dict(
        type="MultiScaleTransform",
        _scope_="a",
        transform=dict(type="Resize", keep_ratio=True),
    )


@pytest.mark.parametrize(
    "transform, new, base",
    [
        (
            dict(type="mmdet.FixShapeResize", width=512, height=256),
            twin(dict(type="mmdet.FixShapeResize")),
            (256, 512),
        ),
        (
            dict(type="mmdet.ResizeShortestEdge", scale=800, max_size=1333),
            twin(
                dict(type="mmdet.ResizeShortestEdge"),
                size_arg=("scale", "max_size"),
                order="hw",
            ),
            (800, 1333),
        ),
        (
            dict(type="mmdet.datasets.transforms.ResizeShortestEdge", scale=800),
            twin(dict(type="mmdet.datasets.transforms.ResizeShortestEdge")),
            800,
        ),
        (
            dict(type="torchvision/Resize", size=224),
            twin(dict(type="torchvision/Resize"), order="short"),
            224,
        ),
        (
            dict(type="torchvision/RandomResizedCrop", size=[224, 192]),
            twin(dict(type="torchvision/RandomResizedCrop")),
            (224, 192),
        ),
        (
            dict(type="MAERandomResizedCrop", size=224, scale=(0.2, 1.0)),
            twin(dict(type="MAERandomResizedCrop", scale=(0.2, 1.0))),
            224,
        ),
    ],
)
def test_by_library(transform, new, base):
    after = vbs_recipe(classification(with_transform(1, transform, CLASSIFY)))
    assert pipeline_of(after)[1] == new
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == base


@pytest.mark.parametrize(
    "transform, place, words",
    [
        (dict(type="MyResize", size=(64, 64)), "", r"MyResize\(size=.*by hand"),
        (dict(type="BEiTMaskGenerator", input_size=14), "", "input_size=14"),
        (
            dict(type="RandomChoice", transforms=[[DETECT[2]], [DETECT[3]]]),
            ".transforms[0][0]",
            "Resize sets a size inside RandomChoice",
        ),
        (
            dict(type="Albu", transforms=[dict(type="Resize", height=9, width=9)]),
            ".transforms[0]",
            "height=9",
        ),
        (
            dict(type="Resize", scale="large"),
            "",
            "Resize must have its size as a number of pixels",
        ),
    ],
)
def test_what_is_refused(transform, place, words):
    with pytest.raises(RecipeError, match=words) as error:
        vbs_recipe(detection(with_transform(2, transform)))
    assert error.value.place == f"train_dataloader.dataset.pipeline[2]{place}"
