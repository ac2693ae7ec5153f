import pytest

from mms_plugin.utils.config_types import (
    batch_size_of,
    class_name,
    counts_iterations,
    kind_of,
    scope_of,
)


class Resize:
    pass


@pytest.mark.parametrize(
    "config, scope, kind",
    [
        (dict(type="Resize"), "", ("", "Resize")),
        (dict(type="Resize"), "mmdet", ("mmdet", "Resize")),
        (dict(type="Resize", _scope_="mmcv"), "mmdet", ("mmcv", "Resize")),
        (dict(type="mmcv.Resize"), "mmdet", ("mmcv", "Resize")),
        (dict(type="mmdet.datasets.transforms.Mosaic"), "", ("mmdet", "Mosaic")),
        (dict(type="torchvision/Resize"), "mmpretrain", ("torchvision", "Resize")),
        (dict(type=Resize), "mmdet", (__name__, "Resize")),
        ({}, "mmdet", ("mmdet", "")),
    ],
)
def test_the_class_that_a_type_names(config, scope, kind):
    assert kind_of(config, scope) == kind


def test_the_name_of_a_class():
    assert class_name("mmdet.datasets.transforms.Mosaic") == "Mosaic"
    assert class_name("mmpretrain.torchvision/Resize") == "Resize"
    assert class_name(Resize) == "Resize"


@pytest.mark.parametrize(
    "train_cfg, expected",
    [
        (dict(type="IterBasedTrainLoop", max_iters=1), True),
        (dict(type="mmengine.IterBasedTrainLoop", max_iters=1), True),
        (dict(type="MyLoop", max_iters=1), True),
        (dict(type="MyLoop", max_iters=1, max_epochs=1), False),
        (dict(type="MyLoop", max_epochs=1), False),
        (dict(by_epoch=False, max_iters=1), True),
        (dict(by_epoch=True, max_epochs=1), False),
        (dict(type="EpochBasedTrainLoop", max_epochs=1), False),
        (dict(max_epochs=1), False),
        (None, False),
    ],
)
def test_which_trainings_count_iterations(train_cfg, expected):
    assert counts_iterations(dict(train_cfg=train_cfg)) is expected
    assert not counts_iterations({})


def test_the_scope_of_a_config():
    assert scope_of(dict(default_scope="mmdet")) == "mmdet"
    assert scope_of({}) == scope_of(dict(default_scope=None)) == "mmengine"


@pytest.mark.parametrize(
    "loader, images",
    [
        (dict(batch_size=4), 4),
        (dict(batch_size=4, batch_sampler=dict(type="BatchSampler")), 4),
        (dict(batch_size=4, batch_sampler=dict(batch_size=8)), 8),
        ({}, None),
    ],
)
def test_a_batch_samplers_own_batch_size_comes_first(loader, images):
    assert batch_size_of(loader) == images
