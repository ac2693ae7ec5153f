"""Models run at several sizes without data."""

import resource
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mms_plugin.recipes.model_run import ModelRun, model_run

STATM = Path("/proc/self/statm")


class Strided(nn.Module):
    """Two convolutions with stride 4 together, and weights for one size if asked."""

    def __init__(self, side=None, pad_small_map=False, in_channels=3):
        super().__init__()
        self.stem = nn.Conv2d(in_channels, 4, 3, stride=2, padding=1)
        self.body = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.fixed = side and nn.Linear(side * side // 16, 2)

    def forward(self, images):
        maps = self.body(self.stem(images))
        if self.fixed:
            self.fixed(maps.flatten(2))
        return (maps,)


@pytest.fixture(autouse=True)
def registered():
    MODELS.register_module(module=Strided, force=True)
    yield
    MODELS.module_dict.pop("Strided")


def config(**backbone):
    return dict(model=dict(type="Unknown", backbone=dict(type="Strided", **backbone)))


def test_a_model_that_takes_any_size():
    run = model_run(config(), (64, 64))
    assert run.ran == "its backbone and neck"
    assert run.failure((32, 32)) is None and run.failure((96, 160)) is None


@pytest.mark.parametrize("channels", [1, 4])
def test_images_of_any_number_of_channels(channels):
    run = model_run(config(in_channels=channels), (64, 64))
    assert run.ran == "its backbone and neck" and run.failure((32, 32)) is None


def test_the_last_runs_are_kept(monkeypatch):
    runs = {}
    monkeypatch.setattr("mms_plugin.recipes.model_run._RUNS", runs)
    first = model_run(config(), (64, 64))
    kept = len(runs)
    for side in range(68, 88, 4):
        model_run(config(), (side, side))
        assert model_run(config(), (64, 64)) is first
    assert kept < len(runs) == 8
    assert model_run(config(), (68, 68)).ran and len(runs) == 8


def test_the_error_at_another_size():
    run = model_run(config(side=64), (64, 64))
    assert run.failure((64, 64)) is None
    assert run.failure((96, 96)).startswith("RuntimeError: ")
    # As with data: the same model fails at this size only.
    model = Strided(64)
    model(torch.zeros(1, 3, 64, 64))
    with pytest.raises(RuntimeError):
        model(torch.zeros(1, 3, 96, 96))


def test_what_the_backbone_tells():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = Strided()

    run = ModelRun(Model, (64, 64))
    assert (run.ran, run.stride, run.takes_small_maps) == ("its backbone", 4, True)


@pytest.mark.parametrize(
    "unknown",
    [{}, dict(model=dict(type="Unknown")), config(kernel=3), config(side=32)],
    ids=["no model", "no backbone", "not built", "fails at its own size"],
)
def test_models_that_do_not_run(unknown):
    assert model_run(unknown, (64, 64)) is None


@pytest.mark.skipif(not STATM.exists(), reason="memory is read from /proc")
def test_weights_take_no_memory():
    class Large(Strided):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(8000, 8000)  # 256 MB
            nn.init.trunc_normal_(self.unused.weight)

    def resident():
        return int(STATM.read_text().split()[1]) * resource.getpagesize()

    built = []

    def build():
        built.append(Large())
        return built[0]

    MODELS.register_module(module=build, name="Large", force=True)
    try:
        before = resident()
        assert model_run(
            dict(model=dict(type="X", backbone=dict(type="Large"))), (8, 8)
        )
        assert built and resident() - before < 100e6
    finally:
        MODELS.module_dict.pop("Large")


def test_random_states_and_weights_are_untouched():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    model_run(config(), (48, 48))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_reads_every_element_is_stopped():
    class ByElement(Strided):
        def forward(self, images):
            _ = images.sum().item() if images.is_meta else None  # not on meta tensors
            for row in images.flatten(1)[0]:
                _ = row + 1
            return super().forward(images)

    MODELS.register_module(module=ByElement, force=True)
    try:
        config = dict(model=dict(type="X", backbone=dict(type="ByElement")))
        assert model_run(config, (128, 160)) is None
    finally:
        MODELS.module_dict.pop("ByElement")
