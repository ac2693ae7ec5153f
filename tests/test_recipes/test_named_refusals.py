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

from mms_plugin.recipes import RecipeError, agvm_recipe, vbs_recipe

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


def test_a_batch_size_of_the_batch_samplers_own():
    config = detection()
    loader = config["train_dataloader"]
    loader["batch_sampler"] = dict(type="AspectRatioBatchSampler", batch_size=7)
    with pytest.raises(RecipeError, match="is 7, .*set train_dataloader.batch_size=7"):
        vbs_recipe(config)
    loader["batch_size"] = 7
    loader = vbs_recipe(config)["train_dataloader"]
    assert loader["batch_size"] == 7 and "batch_size" not in loader["batch_sampler"]


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


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        (
            dict(param_scheduler=[dict(type="LinearLR", start_factor="1/3")]),
            "param_scheduler[0].start_factor",
            "must be a number, but is '1/3'",
        ),
        (
            dict(
                model=dict(
                    data_preprocessor=dict(
                        type="DetDataPreprocessor", pad_size_divisor="32"
                    )
                )
            ),
            "model.data_preprocessor.pad_size_divisor",
            "must be a whole number of pixels, but is '32'",
        ),
        (
            dict(
                model=dict(
                    data_preprocessor=dict(
                        type="SegDataPreProcessor", size_divisor=32.0
                    )
                )
            ),
            "model.data_preprocessor.size_divisor",
            "must be a whole number of pixels, but is 32.0",
        ),
        (
            dict(
                model=dict(
                    data_preprocessor=dict(
                        type="DetDataPreprocessor",
                        batch_augments=[
                            dict(type="BatchSyncRandomResize", random_size_range=320)
                        ],
                    )
                )
            ),
            "model.data_preprocessor.batch_augments[0].random_size_range",
            "must be two sides such as (480, 800), but is 320",
        ),
    ],
)
def test_a_slip_is_named_with_its_place_and_its_value(changes, place, words):
    with pytest.raises(RecipeError) as error:
        vbs_recipe(detection(**changes), check_model=False)
    assert (error.value.place, error.value.reason) == (place, words)


def test_clipping_as_a_number():
    config = classification(
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1), clip_grad=35),
        auto_scale_lr=dict(base_batch_size=256),
        param_scheduler=[],
    )
    with pytest.raises(RecipeError, match="must be a dict such as dict.max_norm=35."):
        agvm_recipe(config, batch_size=512, num_samples=20_000)
