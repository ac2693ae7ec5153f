"""What docs/recipes.md refuses or converts by name; no library is imported."""

import pytest
from single_scale_configs import (
    CLASSIFY,
    DETECT,
    classification,
    detection,
    pipeline_of,
    twin,
)

from mms_plugin.recipes import RecipeError, vbs_recipe

MASKED = [
    "BEiTPretrainViT",
    "CAEPretrainViT",
    "MAEHiViT",
    "MAEViT",
    "MFFViT",
    "MILANViT",
    "MaskFeatViT",
    "MixMIMPretrainTransformer",
    "iTPNHiViT",
]


@pytest.mark.parametrize("check_model", ["run", "names"])
@pytest.mark.parametrize(
    ("model", "place", "words"),
    [
        *(
            (
                dict(type="MAE", backbone=dict(type=name, arch="b")),
                "model.backbone",
                f"{name}: its masks and position embeddings",
            )
            for name in MASKED
        ),
        *(
            (
                dict(type=name, backbone=dict(type="ResNet", depth=50)),
                "model",
                f"{name}: its queue takes batches of one size only",
            )
            for name in ("DenseCL", "MoCo", "SwAV")
        ),
    ],
    ids=[*MASKED, "DenseCL", "MoCo", "SwAV"],
)
def test_a_model_that_would_learn_wrongly(model, place, words, check_model):
    config = classification(model=model)
    with pytest.raises(RecipeError, match=words) as error:
        vbs_recipe(config, check_model=check_model)
    assert error.value.place == place
    assert "check_model=False converts the config anyway" in error.value.reason
    after = vbs_recipe(config, check_model=False)
    sampler = after["train_dataloader"]["batch_sampler"]
    assert sampler["type"] == "MultiScaleVariableBatchSampler"
    assert after["model"] == model


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TrackImgSampler", "its indices are pairs of a video and a frame"),
        ("GroupMultiSourceSampler", "its batches have a fixed share of each source"),
        ("mmdet.TrackImgSampler", "its indices are pairs of a video and a frame"),
    ],
)
def test_a_sampler_that_is_refused(name, words):
    config = detection()
    config["train_dataloader"]["sampler"] = dict(type=name)
    with pytest.raises(RecipeError, match=words) as error:
        vbs_recipe(config)
    assert error.value.place == "train_dataloader.sampler"
    assert name.rpartition(".")[2] in error.value.reason


@pytest.mark.parametrize("drop_last", [False, True])
def test_batches_of_videos_by_aspect_ratio(drop_last):
    config = detection()
    config["train_dataloader"]["batch_sampler"] = dict(
        type="TrackAspectRatioBatchSampler", drop_last=drop_last
    )
    sampler = vbs_recipe(config)["train_dataloader"]["batch_sampler"]
    assert sampler["type"] == "MultiScaleVariableBatchSampler"
    assert sampler["group_by_aspect_ratio"] is True
    assert sampler.get("drop_last", False) is drop_last


def test_two_images_of_a_sample():
    """mmpretrain's NLVR: both images pass the transforms inside."""
    crop = dict(type="RandomResizedCrop", backend="pillow")
    pair = dict(
        type="ApplyToList", scatter_key="img_path", collate_keys=["img", "ori_shape"]
    )
    inner = [CLASSIFY[0], dict(crop, scale=384), CLASSIFY[2]]
    after = vbs_recipe(classification([dict(pair, transforms=inner), CLASSIFY[-1]]))
    assert pipeline_of(after) == [
        dict(pair, transforms=[CLASSIFY[0], twin(crop), CLASSIFY[2]]),
        CLASSIFY[-1],
    ]
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == 384
    assert inner[1] == dict(crop, scale=384)


def test_an_image_under_another_key():
    resize = dict(type="Resize", keep_ratio=True)
    mapper = dict(type="KeyMapper", mapping=dict(img="picture"), auto_remap=True)
    inner = [dict(resize, scale=(1333, 800)), DETECT[3]]
    after = vbs_recipe(
        detection([*DETECT[:2], dict(mapper, transforms=inner), DETECT[-1]])
    )
    assert pipeline_of(after) == [
        *DETECT[:2],
        dict(mapper, transforms=[twin(resize), DETECT[3]]),
        DETECT[-1],
    ]
    assert after["train_dataloader"]["batch_sampler"]["base_size"] == (800, 1333)


@pytest.mark.parametrize("wrapper", ["ApplyToList", "KeyMapper"])
def test_a_refusal_names_its_place_inside(wrapper):
    inner = [DETECT[3], dict(type="Unknown", scale=(640, 512))]
    pipeline = [*DETECT[:2], dict(type=wrapper, transforms=inner), DETECT[-1]]
    with pytest.raises(RecipeError) as error:
        vbs_recipe(detection(pipeline))
    place = "train_dataloader.dataset.pipeline[2].transforms[1]"
    assert error.value.place == place
