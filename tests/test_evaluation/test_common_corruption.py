import random
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS

from mms_plugin.evaluation.common_corruption import CommonCorruption, load_corrupt
from mms_plugin.evaluation.corruptions import CORRUPTIONS

imagecorruptions = pytest.importorskip("imagecorruptions")


@pytest.fixture(scope="module")
def image():
    from tools.demo.scenes import classification_scene

    return classification_scene(0, "val", 3, size=64).image


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption(name, image):
    kept = image.copy()
    for severity in (1, 2, 3, 4, 5):
        transform = TRANSFORMS.build(
            dict(type="CommonCorruption", corruption=name, severity=severity)
        )
        first = transform(dict(img=image, img_path="x"))
        assert first["img_path"] == "x"
        corrupted = first["img"]
        assert corrupted.shape == image.shape and corrupted.dtype == np.uint8
        assert (image == kept).all() and (corrupted != image).mean() > 0.02
        # Whatever was drawn before, and by whom.
        np.random.seed(severity), random.seed(7), np.random.rand(3)
        state = np.random.get_state()
        again = CommonCorruption(name, severity).apply(image.copy())
        assert (again == corrupted).all()
        assert (np.random.get_state()[1] == state[1]).all()
    drawn = "noise" in name or name in ("frost", "fog", "snow", "glass_blur")
    if drawn:  # another image is not given the same noise
        other = CommonCorruption(name, 5).apply(image ^ 1)
        assert (other.astype(int) - corrupted != (image ^ 1).astype(int) - image).any()


def test_is_the_package_on_rgb(image):
    """Nothing is drawn in these: they can be compared to the package itself."""
    for name in ("contrast", "pixelate", "jpeg_compression", "brightness"):
        expected = imagecorruptions.corrupt(
            np.ascontiguousarray(image[..., ::-1]), severity=3, corruption_name=name
        )
        found = CommonCorruption(name, 3).apply(image)
        assert (found[..., ::-1] == expected).all()
        rgb = image[..., ::-1]
        assert (CommonCorruption(name, 3, "rgb").apply(rgb) == expected).all()


def test_grey_images(image):
    grey = image[..., 0]
    for shape in (grey.shape, (*grey.shape, 1)):
        found = CommonCorruption("gaussian_noise", 2).apply(grey.reshape(shape))
        assert found.shape == shape


class Images(torch.utils.data.Dataset):
    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 6

    def __getitem__(self, index):
        image = np.random.RandomState(index).randint(0, 255, (40, 36, 3))
        return torch.from_numpy(self.transform.apply(image.astype(np.uint8)))


@pytest.mark.parametrize("name", ["gaussian_noise", "impulse_noise", "glass_blur"])
def test_the_number_of_workers_does_not_matter(name):
    data = Images(CommonCorruption(name, 4))
    results = [
        torch.cat(list(torch.utils.data.DataLoader(data, 2, num_workers=workers)))
        for workers in (0, 2)
    ]
    assert torch.equal(*results)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (dict(corruption="rain"), "one of gaussian_noise.*but got 'rain'"),
        (dict(corruption="fog", severity=0), "severity must .*got 0"),
        (dict(corruption="fog", severity=6), "severity must .*got 6"),
        (dict(corruption="fog", severity=True), "severity must .*got True"),
        (dict(corruption="fog", channel_order="gbr"), "channel_order must .*got 'gbr'"),
    ],
)
def test_bad_arguments(arguments, text):
    with pytest.raises(ValueError, match=text):
        CommonCorruption(**arguments)


def test_bad_images():
    transform = CommonCorruption("fog")
    with pytest.raises(ValueError, match="31 x 40 pixels is too small"):
        transform.apply(np.zeros((31, 40, 3), np.uint8))
    with pytest.raises(ValueError, match="must be uint8, but is float32"):
        transform.apply(np.zeros((40, 40, 3), np.float32))
    with pytest.raises(ValueError, match="comes after the transform that loads it"):
        transform(dict(img_path="a.png"))


def test_missing_package(monkeypatch):
    load_corrupt.cache_clear()
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(ImportError, match="imagecorruptions-imaug.*run: pip install"):
        CommonCorruption("fog")
    load_corrupt.cache_clear()


def test_old_package_of_the_same_name(monkeypatch):
    import types

    load_corrupt.cache_clear()
    old = types.ModuleType("imagecorruptions")
    old.corrupt = lambda image, severity=1, corruption_name=None: image
    monkeypatch.setitem(sys.modules, "imagecorruptions", old)
    with pytest.raises(ImportError, match="pip uninstall imagecorruptions"):
        CommonCorruption("fog")
    load_corrupt.cache_clear()
