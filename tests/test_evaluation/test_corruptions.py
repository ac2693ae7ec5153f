import pytest

from mms_plugin.evaluation.corruptions import (
    CORRUPTIONS,
    choose_corruptions,
    corrupted_pipeline,
    summarize_corruptions,
)


def test_the_fifteen_are_the_packages():
    package = pytest.importorskip("imagecorruptions")
    assert tuple(package.get_corruption_names()) == CORRUPTIONS
    assert len(CORRUPTIONS) == 15


def test_names_and_groups():
    assert choose_corruptions([]) == choose_corruptions(["all"]) == list(CORRUPTIONS)
    assert choose_corruptions(["fog", "noise", "fog"]) == [
        "gaussian_noise", "shot_noise", "impulse_noise", "fog",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="'rain' is not one of gaussian_noise, .*blur"):
        choose_corruptions(["fog", "rain"])


def kinds(pipeline):
    return [item["type"] for item in pipeline]


@pytest.mark.parametrize("pack", ["PackInputs", "PackMultiTaskInputs"])
def test_classification_is_corrupted_at_the_networks_size(pack):
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="ResizeEdge", scale=256),
        dict(type="CenterCrop", crop_size=224),
        dict(type="RandomFlip"),
        dict(type=pack),
    ]
    changed = corrupted_pipeline(pipeline, "fog", 2)
    assert kinds(changed) == [
        "LoadImageFromFile", "ResizeEdge", "CenterCrop", "CommonCorruption",
        "RandomFlip", pack,
    ]  # fmt: skip
    assert changed[3] == dict(type="CommonCorruption", corruption="fog", severity=2)
    assert len(pipeline) == 5


def test_classification_with_torchvisions_transforms():
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="NumpyToPIL", to_rgb=True),
        dict(type="torchvision/Resize", size=256),
        dict(type="torchvision/CenterCrop", size=224),
        dict(type="PILToNumpy", to_bgr=True),
        dict(type="PackInputs"),
    ]
    changed = kinds(corrupted_pipeline(pipeline, "fog", 2))
    assert changed[4:] == ["PILToNumpy", "CommonCorruption", "PackInputs"]
    del pipeline[4]
    with pytest.raises(ValueError, match=r"turn its images back into arrays"):
        corrupted_pipeline(pipeline, "fog", 2)


def test_detection_is_corrupted_as_loaded():
    pipeline = [
        dict(type="mmcv.LoadImageFromFile", backend_args=None),
        dict(type="Resize", scale=(1333, 800), keep_ratio=True),
        dict(type="LoadAnnotations", with_bbox=True),
        dict(type="PackDetInputs"),
    ]
    changed = kinds(corrupted_pipeline(pipeline, "snow", 5))
    assert changed[:3] == ["mmcv.LoadImageFromFile", "CommonCorruption", "Resize"]


def test_a_dataset_that_gives_the_images_as_rgb():
    """mmpretrain's CIFAR."""
    (added, packed) = corrupted_pipeline([dict(type="PackInputs")], "fog", 1)
    assert packed == dict(type="PackInputs")
    assert added == dict(
        type="CommonCorruption", corruption="fog", severity=1, channel_order="rgb"
    )
    resized = [dict(type="Resize", scale=64), dict(type="PackInputs")]
    assert kinds(corrupted_pipeline(resized, "fog", 1)) == [
        "Resize", "CommonCorruption", "PackInputs",
    ]  # fmt: skip


def test_nothing_is_loaded():
    with pytest.raises(ValueError, match=r"\[LoadAnnotations, PackInputs\] loads no"):
        corrupted_pipeline(
            [dict(type="LoadAnnotations"), dict(type="PackInputs")], "fog", 1
        )


def test_summary_by_hand():
    values = {("fog", 1): 60.0, ("fog", 5): 20.0, ("snow", 1): 50.0}
    found = summarize_corruptions(80.0, values)
    # Each corruption counts once, however many severities it has.
    assert found["by_corruption"] == {"fog": 40.0, "snow": 50.0}
    assert found["mean"] == 45.0
    assert found["relative_drop"] == pytest.approx(43.75)  # 35 of 80
    assert summarize_corruptions(0.0, values)["relative_drop"] is None
    assert summarize_corruptions(None, values)["relative_drop"] is None
