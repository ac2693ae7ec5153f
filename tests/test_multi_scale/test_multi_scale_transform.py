import os
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS, init_default_scope
from toys import PIPELINE, MakeImage

from mms_plugin.multi_scale import MultiScaleDataset, MultiScaleTransform

IMAGE = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)


def sample(size=(24, 32), **extra):
    return dict(img=IMAGE.copy(), img_shape=(40, 60), target_size=size, **extra)


@pytest.fixture
def scope(request):
    name = getattr(request, "param", "mmpretrain")
    pytest.importorskip(name)
    init_default_scope(name)
    return name


def apply(config, size=(24, 32), **kwargs):
    return MultiScaleTransform(config, **kwargs)(sample(size))["img"].shape[:2]


# Height 24, width 32 of an image of height 40 and width 60.
CASES = [
    ("mmpretrain", dict(type="Resize"), (24, 32)),
    ("mmpretrain", dict(type="Resize", keep_ratio=True), (21, 32)),
    ("mmpretrain", dict(type="RandomResizedCrop"), (24, 32)),
    ("mmpretrain", dict(type="RandomCrop"), (24, 32)),
    ("mmpretrain", dict(type="CenterCrop"), (24, 32)),
    ("mmpretrain", dict(type="ResizeEdge"), (24, 36)),
    ("mmpretrain", dict(type="EfficientNetRandomCrop"), (24, 24)),
    ("mmdet", dict(type="Resize"), (24, 32)),
    ("mmdet", dict(type="Resize", keep_ratio=True), (21, 32)),
    ("mmdet", dict(type="FixShapeResize", keep_ratio=False), (24, 32)),
    ("mmdet", dict(type="RandomResize", ratio_range=(1, 1)), (24, 32)),
    ("mmdet", dict(type="RandomCrop", crop_type="absolute"), (24, 32)),
    ("mmdet", dict(type="Pad"), (40, 60)),
    ("mmdet", dict(type="mmpretrain.CenterCrop"), (24, 32)),
]


@pytest.mark.parametrize("scope, config, shape", CASES, indirect=["scope"])
def test_transforms_of_the_libraries_at_the_size(scope, config, shape):
    assert apply(config) == shape


@pytest.mark.parametrize("scope", ["mmdet"], indirect=True)
def test_pad(scope):
    assert apply(dict(type="Pad"), (64, 80)) == (64, 80)


@pytest.mark.parametrize("scope", ["mmdet"], indirect=True)
def test_mixing_transforms_are_asked_for_images_at_the_size(scope):
    class Three:
        def __len__(self):
            return 3

    transform = MultiScaleTransform(dict(type="Mosaic"))
    assert not hasattr(MultiScaleTransform(dict(type="Resize")), "get_indexes")
    transform.at((24, 32))
    assert len(transform.get_indexes(Three())) == 3
    assert transform.at((24, 32)).img_scale == (32, 24)
    assert MultiScaleTransform(dict(type="MixUp")).at((24, 32)).dynamic_scale == (
        32,
        24,
    )


@pytest.mark.parametrize("scope", ["mmpretrain"], indirect=True)
def test_albumentations_by_a_path_into_the_config(scope):
    albumentations = pytest.importorskip("albumentations")
    assert albumentations
    config = dict(
        type="Albumentations", transforms=[dict(type="Resize", height=1, width=1)]
    )
    paths = ("transforms.0.height", "transforms.0.width")
    assert apply(config, size_arg=paths, order="hw") == (24, 32)


def test_a_path_into_nested_configs():
    config = dict(type="RandomApply", transforms=[dict(type="MakeImage", scale=0)])
    pytest.importorskip("mmcv")
    transform = MultiScaleTransform(config, size_arg="transforms.0.scale")
    assert transform.config_at((24, 32))["transforms"][0]["scale"] == (32, 24)
    assert config["transforms"][0]["scale"] == 0
    both = MultiScaleTransform(
        config, size_arg=("transforms.0.h", "transforms.0.w"), order="hw"
    ).config_at((24, 32))
    assert both["transforms"][0] == dict(type="MakeImage", scale=0, h=24, w=32)


@pytest.mark.parametrize(
    "order, value", [("wh", (32, 24)), ("hw", (24, 32)), ("short", 24), ("long", 32)]
)
def test_order(order, value):
    transform = MultiScaleTransform(dict(type="MakeImage"), order=order)
    assert transform.at((24, 32)).scale == value


def test_one_instance_for_each_size_on_first_use():
    built = []

    @TRANSFORMS.register_module(force=True)
    class CountBuilt(MakeImage):
        def __init__(self, scale):
            built.append(scale)
            super().__init__(scale)

    transform = MultiScaleTransform(dict(type="CountBuilt"))
    assert built == []
    for _ in range(3):
        transform(sample((4, 4)))
        transform(sample((8, 4)))
    assert built == [(4, 4), (4, 8)]


def test_pickling_keeps_the_class_and_drops_what_was_built():
    transform = MultiScaleTransform(dict(type="MakeImage"))
    transform(sample())
    again = pickle.loads(pickle.dumps(transform))
    assert again._built == {}
    assert again(sample((3, 5)))["img"].shape == (3, 5, 3)


def test_subclass_of_a_known_transform_has_its_defaults():
    processing = pytest.importorskip("mmpretrain.datasets.transforms")

    class Own(processing.RandomResizedCrop):
        pass

    transform = MultiScaleTransform(dict(type=Own))
    assert (transform.size_arg, transform.order) == (("scale",), "hw")
    assert transform(sample())["img"].shape[:2] == (24, 32)


@pytest.mark.parametrize("scope", ["mmpretrain"], indirect=True)
def test_torchvision_of_mmpretrain(scope):
    transform = MultiScaleTransform(
        dict(type="torchvision/RandomResizedCrop", scale=(0.5, 1.0), size=9)
    )
    built = transform.at((24, 32)).t
    assert (built.size, built.scale) == ((24, 32), (0.5, 1.0))
    with pytest.raises(ValueError, match="size_arg must be an argument"):
        MultiScaleTransform(dict(type="torchvision/RandomHorizontalFlip"))
    with pytest.raises(ValueError, match="'foo'"):
        MultiScaleTransform(dict(type="torchvision/Resize"), size_arg="foo")


@pytest.mark.parametrize("scope", ["mmdet"], indirect=True)
def test_a_guess_is_not_lost_in_keyword_arguments(scope):
    with pytest.raises(ValueError, match="'scale'"):
        MultiScaleTransform(dict(type="RandomChoiceResize"))


def test_a_missing_library_is_named_with_its_pip_command(monkeypatch):
    module = "mms_plugin.multi_scale.multi_scale_transform"
    monkeypatch.setattr(f"{module}.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "(mmdet|onedl-mmdetection)>=3'):
        MultiScaleTransform(dict(type="mmdet.NoSuchTransform"))


class TestSizeRatio:
    def test_a_number_and_a_pair(self):
        config = dict(type="MakeImage")
        # 24 * 8 / 7 = 27.4, 32 * 8 / 7 = 36.6
        assert apply(config, size_ratio=8 / 7) == (27, 37)
        assert apply(config, size_ratio=(2, 0.5)) == (48, 16)
        # Half a pixel rounds up, from 2.5 to 3 as from 3.5 to 4.
        assert apply(config, (5, 7), size_ratio=0.5) == (3, 4)
        transform = MultiScaleTransform(config, size_ratio=2.0)
        assert "size_ratio=(2.0, 2.0)" in repr(transform)
        assert transform.at((24, 32)) is transform.at((24, 32))

    @pytest.mark.parametrize("scope", ["mmdet"], indirect=True)
    def test_the_border_of_an_affine_transform(self, scope):
        transform = TRANSFORMS.build(
            dict(type="MultiScaleRandomAffine", size_ratio=-0.5)
        )
        # (width, height) as mmdet has it.
        assert transform.at((64, 96)).border == (-48, -32)

    @pytest.mark.parametrize("scope", ["mmpretrain"], indirect=True)
    def test_one_side(self, scope):
        transform = MultiScaleTransform(dict(type="ResizeEdge"), size_ratio=256 / 224)
        assert transform.at((224, 224)).scale == 256
        assert transform.at((128, 128)).scale == 146  # 146.3

    @pytest.mark.parametrize("ratio", ["2", (1, 2, 3), float("inf"), 0, True])
    def test_bad_values(self, ratio):
        with pytest.raises(ValueError, match="size_ratio must be a number or a pair"):
            MultiScaleTransform(dict(type="MakeImage"), size_ratio=ratio)


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(transform="Resize"), "transform must be a config"),
        (dict(transform=dict(scale=3)), "transform must be a config"),
        (dict(transform=dict(type="MakeImage"), order="xy"), "'xy'"),
        (dict(transform=dict(type="MakeImage"), size_arg="size"), "'size'"),
        (dict(transform=dict(type="LoseOnce")), "size_arg must be an argument"),
        (dict(transform=dict(type="MakeImage"), size_arg=3), "size_arg"),
        (dict(transform=dict(type="MakeImage"), size_arg=()), "size_arg"),
        (
            dict(transform=dict(type="MakeImage"), size_arg=("a", "b"), order="short"),
            "two arguments",
        ),
        (dict(transform=dict(type="NoSuchTransform")), "NoSuchTransform"),
        (dict(transform=dict(type="nolib.Resize")), "nolib.Resize"),
        (dict(transform=dict(type="MakeImage"), size_arg="scale.0.x"), "nested config"),
    ],
)
def test_bad_arguments(kwargs, says):
    with pytest.raises(ValueError) as error:
        MultiScaleTransform(**kwargs)
    assert says in str(error.value)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (24, 16)])
def test_a_crop_that_would_draw_its_sides(size):
    """As in mmdet's large-scale jitter, where both ends of the range are the size."""
    pytest.importorskip("mmdet")
    crop = dict(type="mmdet.RandomCrop", crop_type="absolute_range")
    transform = MultiScaleTransform(crop)
    for _ in range(5):
        assert transform(sample(size))["img"].shape[:2] == size


def test_a_crop_whose_range_is_scaled():
    """As in mmdet's DETR, with its 384 to 600 px at 800x1333."""
    pytest.importorskip("mmdet")
    crop = dict(type="mmdet.RandomCrop", crop_type="absolute_range")
    transform = MultiScaleTransform(crop, size_ratio=(600 / 800, 384 / 1333))
    for size, ends in (((800, 1333), (384, 600)), ((400, 667), (192, 300))):
        built = transform.at(size)
        assert (built.crop_type, built.crop_size) == ("absolute_range", ends)


class Bank:
    """Draws when it is built."""

    def __init__(self, scale):
        self.bank = np.random.rand(), random.random(), torch.rand(1).item()

    def __call__(self, results):
        return results


def test_what_is_drawn_at_the_first_use_depends_on_the_size_only():
    banks = []
    for seed in (1, 2):
        np.random.seed(seed)
        transform = MultiScaleTransform(dict(type=Bank))
        before = np.random.get_state()[1].tolist()
        banks.append([transform.at(size).bank for size in ((8, 8), (8, 16))])
        assert np.random.get_state()[1].tolist() == before
    assert banks[0] == banks[1]
    assert banks[0][0] != banks[0][1]


def test_a_spawned_worker_knows_the_transforms_inside():
    nested = dict(type="RandomApply", transforms=[dict(type="MakeImage")])
    transform = MultiScaleTransform(nested, size_arg="transforms.0.scale")
    code = (
        "import pickle, sys; "
        "transform = pickle.loads(sys.stdin.buffer.read()); "
        "transform.at((4, 6)); print(transform.at((4, 6)).transforms)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(transform), check=True,
        capture_output=True, env=environment,
    )  # fmt: skip
    assert b"MakeImage" in done.stdout


def test_a_size_that_the_transform_refuses_without_a_word():
    pytest.importorskip("mmdet")
    transform = MultiScaleTransform(
        dict(type="mmdet.RandomCrop", crop_type="relative"), size_arg="crop_size"
    )
    with pytest.raises(ValueError) as error:
        transform.at((48, 64))
    assert "mmdet.RandomCrop" in str(error.value)
    assert "crop_size of 48x64 (height x width)" in str(error.value)


def test_a_loop_over_the_dataset_says_that_its_indices_have_no_size():
    dataset = MultiScaleDataset(dict(type="ToyDataset", num=2, pipeline=PIPELINE))
    with pytest.raises(ValueError, match="given a plain index.*run `mms browse`"):
        next(iter(dataset))


def test_what_fails_in_a_transform_is_said(scope):
    """Not that its settings cannot be read."""
    config = dict(type="mmcv.RandomResize", ratio_range=None)
    with pytest.raises(AssertionError):  # mmcv's: its scale must be a pair
        MultiScaleTransform(config)(sample())


def test_a_sample_without_a_size_says_which_lines_to_add():
    with pytest.raises(ValueError) as error:
        MultiScaleTransform(dict(type="MakeImage"))(dict(i=1))
    assert "type='MultiScaleDataset'" in str(error.value)
    assert "type='MultiScaleVariableBatchSampler'" in str(error.value)
