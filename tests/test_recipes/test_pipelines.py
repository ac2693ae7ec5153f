"""Which transforms of a pipeline follow the batch, and which stay."""

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


def test_proportions_are_kept():
    pipeline = [
        CLASSIFY[0],
        dict(type="ResizeEdge", scale=256, edge="short"),
        dict(type="RandomCrop", crop_size=224),
        CLASSIFY[-1],
    ]
    after = vbs_recipe(classification(pipeline))
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == 224
    assert pipeline_of(after)[1:3] == [
        twin(dict(type="ResizeEdge", edge="short"), size_ratio=256 / 224),
        twin(dict(type="RandomCrop")),
    ]
    pipeline[2] = dict(type="CenterCrop", crop_size=(128, 256))  # (width, height)
    after = vbs_recipe(classification(pipeline))
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == (256, 128)
    assert pipeline_of(after)[1]["size_ratio"] == [1.0, 2.0]


def test_a_crop_without_a_resize():
    crop = dict(type="RandomCrop", crop_size=32, padding=4)
    after = vbs_recipe(classification([crop, *CLASSIFY[2:]]))
    assert pipeline_of(after) == [crop, twin(dict(type="Resize")), *CLASSIFY[2:]]
    sampler = after["train_dataloader"]["batch_sampler"]
    assert (sampler["base_size"], sampler["sizes"]) == (32, [24, 32, 40])
    # PIL images are resized by torchvision.
    crop = dict(type="torchvision/RandomCrop", size=32, padding=4)
    after = vbs_recipe(classification([crop, *CLASSIFY[2:]]))
    resize = twin(dict(type="torchvision/Resize"))
    assert pipeline_of(after) == [crop, resize, *CLASSIFY[2:]]
    # mmdet: boxes would be scaled as well; that is the user's to say.
    crop = dict(type="RandomCrop", crop_size=(640, 640))
    with pytest.raises(RecipeError) as error:
        vbs_recipe(detection(with_transform(2, crop)))
    assert error.value.place == "train_dataloader.dataset.pipeline[2]"


def test_a_crop_before_the_resize_chooses_a_part():
    crop = dict(type="RandomCenterCropPad", crop_size=(511, 511), ratios=(0.6, 1.3))
    resize = dict(type="Resize", scale=(511, 511), keep_ratio=False)
    after = vbs_recipe(detection([*DETECT[:2], crop, resize, DETECT[-1]]))
    assert pipeline_of(after)[2] == crop
    assert pipeline_of(after)[3]["type"] == "MultiScaleTransform"


@pytest.mark.parametrize("scale", [(float("inf"), 640), (-1, 640)])
def test_a_side_without_a_bound_is_refused(scale):
    resize = dict(type="Resize", scale=scale, keep_ratio=True)
    with pytest.raises(RecipeError, match="positive integers of pixels, such as"):
        vbs_recipe(detection(with_transform(2, resize)))


@pytest.mark.parametrize("ratios", [(0.5, 2.0), (0.5, 1.0)])
@pytest.mark.parametrize("scope", ["mmdet", "mmseg"])
def test_a_jitter_with_and_without_a_crop(ratios, scope):
    pack = dict(type="PackSegInputs" if scope == "mmseg" else "PackDetInputs")
    own = dict(type="RandomResize", ratio_range=ratios, keep_ratio=True)
    jitter = dict(own, scale=(512, 256))
    crop = dict(type="RandomCrop", crop_size=(128, 256))
    if scope == "mmdet":
        crop["crop_size"] = (256, 128)  # (width, height)
    cropped = detection([*DETECT[:2], jitter, crop, pack], default_scope=scope)
    after = vbs_recipe(cropped)
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == (128, 256)
    assert pipeline_of(after)[2]["transform"] == own
    after = vbs_recipe(detection([*DETECT[:2], jitter, pack], default_scope=scope))
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == (256, 512)
    # An image larger than its batch's size would not fit: the sampler draws the sizes.
    enlarges = max(ratios) > 1
    plain = dict(type="Resize", keep_ratio=True)
    assert pipeline_of(after)[2] == twin(plain if enlarges else own)


def test_inside_others():
    inner = [dict(type="Resize", scale=(1333, 800), keep_ratio=True), DETECT[3]]
    outer = dict(type="ProposalBroadcaster", transforms=inner)
    after = vbs_recipe(detection([*DETECT[:2], outer, DETECT[-1]]))
    assert pipeline_of(after)[2] == dict(
        type="ProposalBroadcaster",
        transforms=[twin(dict(type="Resize", keep_ratio=True)), DETECT[3]],
    )
    # The frames of a video, resized alike.
    frames = dict(type="TransformBroadcaster", share_random_params=True)
    before = [*DETECT[:2], dict(frames, transforms=inner), DETECT[-1]]
    assert pipeline_of(vbs_recipe(detection(before)))[2] == dict(
        frames, transforms=[twin(dict(type="Resize", keep_ratio=True)), DETECT[3]]
    )
    views = dict(
        type="MultiView",
        num_views=[2, 6],
        transforms=[
            [dict(type="RandomResizedCrop", scale=96)],
            [dict(type="RandomResizedCrop", scale=224)],
        ],
    )
    after = vbs_recipe(classification([CLASSIFY[0], views, CLASSIFY[-1]]))
    crops = pipeline_of(after)[1]["transforms"]
    assert crops[0][0] == twin(dict(type="RandomResizedCrop"), size_ratio=96 / 224)
    assert crops[1][0] == twin(dict(type="RandomResizedCrop"))
    assert views["transforms"][0][0] == dict(type="RandomResizedCrop", scale=96)


CHOICE = dict(
    type="RandomChoiceResize",
    scales=[(1333, 640), (1333, 800)],
    keep_ratio=True,
    backend="pillow",
)


RANGE = dict(type="RandomResize", scale=[(1333, 640), (1333, 800)], keep_ratio=True)


@pytest.mark.parametrize("transform", [CHOICE, RANGE], ids=lambda t: t["type"])
def test_refused_with_its_place(transform):
    dataset = dict(
        type="RepeatDataset",
        times=3,
        dataset=dict(type="CocoDataset", pipeline=with_transform(2, transform)),
    )
    with pytest.raises(RecipeError, match="base_size=") as error:
        vbs_recipe(detection(dataset=dataset))
    place = "train_dataloader.dataset.dataset.pipeline[2]"
    assert error.value.place == place and str(error.value).startswith(place)


@pytest.mark.parametrize("transform", [CHOICE, RANGE], ids=lambda t: t["type"])
def test_a_base_size_makes_it_a_resize(transform):
    config = detection(with_transform(2, transform))
    after = vbs_recipe(config, base_size=(800, 1333))
    kept = {k: transform[k] for k in ("keep_ratio", "backend") if k in transform}
    assert pipeline_of(after)[2] == twin(dict(type="Resize", **kept))
    same = vbs_recipe(detection())["train_dataloader"]["batch_sampler"]
    assert after["train_dataloader"]["batch_sampler"] == same
