"""What the demo reads off its detectors, on a few images."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from mmengine.runner import set_random_seed

from mms_plugin.analysis import agvm_curves, count_flops
from tools.demo.scenes import SceneParameters, write_scenes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "demo"))

import measuring  # noqa: E402
from tasks import CLASSIFICATION, DETECTION  # noqa: E402

FILES = {**dict(CLASSIFICATION.arms), **dict(DETECTION.arms)}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo") / "scenes"
    few = dict(train_images=24, val_images=1, det_train_images=12, det_val_images=3)
    write_scenes(root, SceneParameters(seed=1, **few))
    return root


@pytest.fixture
def load(scenes, monkeypatch):
    monkeypatch.setenv("MMS_SCENES", str(scenes))

    def load(name):
        file = ROOT / "configs" / "demo" / FILES[name]
        return measuring.load_config(file, {"randomness.seed": 0})

    return load


def train(cfg, iterations):
    """Weights after a few iterations, and the optimizer wrapper."""
    with measuring.library_of(cfg):
        set_random_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        model.train()
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        wrapper.initialize_count_status(model, 0, iterations)
        batches = iter(measuring.training_loader(cfg))
        for _ in range(iterations):
            model.train_step(next(batches), wrapper)
    return model.state_dict(), wrapper


def test_measuring_changes_nothing(load):
    cfg = load("SSc-FBS")
    assert cfg.optim_wrapper.agvm.modulate is False
    for transform in cfg.train_dataloader.dataset.pipeline:
        if transform["type"] == "Resize":
            transform["scale"] = (64, 64)
    cfg.train_dataloader.batch_size = 3
    cfg.optim_wrapper.agvm.update(start_iter=1, interval=1)
    measured, wrapper = train(cfg, 4)
    assert set(wrapper.agvm.variances) >= {"backbone", "neck", "rpn_head"}
    assert wrapper.agvm.multipliers["neck"] != 1.0

    for key in ("constructor", "agvm"):
        cfg.optim_wrapper.pop(key)
    cfg.optim_wrapper.type = "OptimWrapper"
    plain, _ = train(cfg, 4)
    assert plain.keys() == measured.keys()
    assert all(torch.equal(plain[name], measured[name]) for name in plain)


def test_arms_differ_in_the_sampling_alone(load):
    first, second = load("SSc-FBS"), load("MSc-VBSWC")
    assert first.model == second.model
    assert first.param_scheduler == second.param_scheduler
    assert first.optim_wrapper.optimizer == second.optim_wrapper.optimizer
    assert first.train_cfg == second.train_cfg
    assert first.test_dataloader == second.test_dataloader
    inner = second.train_dataloader.dataset.dataset
    names = [step["type"] for step in inner.pipeline]
    names[names.index("MultiScaleTransform")] = "Resize"
    assert names == [step["type"] for step in first.train_dataloader.dataset.pipeline]


def test_flops_of_a_classifier_are_those_of_any_image(load, tmp_path):
    pytest.importorskip("mmpretrain")
    from mmpretrain.structures import DataSample

    cfg = load("MSc-VBS")
    with measuring.library_of(cfg):
        model = MODELS.build({**cfg.model, "data_preprocessor": cfg.data_preprocessor})
        torch.save(model.state_dict(), tmp_path / "model.pth")
        model = measuring.build_model(cfg, tmp_path / "model.pth")
        loader = measuring.training_loader(cfg)
        plan = [[(48, 48, 4), (64, 64, 2)], [(48, 48, 4)]]
        counted = measuring.count_sizes(model, loader, plan)
    assert set(counted) == {(48, 48), (64, 64)}
    samples = [DataSample().set_gt_label(0) for _ in range(2)]
    losses = []

    def step():
        losses.append(model(torch.zeros(2, 3, 48, 48), samples, mode="loss")["loss"])
        losses[-1].backward()

    model.train()
    assert counted[48, 48] == count_flops(step) / 2


def test_flops_of_a_detector_take_in_its_heads(load, tmp_path):
    cfg = load("MSc-VBSWC")
    with measuring.library_of(cfg):
        model = MODELS.build(cfg.model)
        torch.save(model.state_dict(), tmp_path / "model.pth")
        model = measuring.build_model(cfg, tmp_path / "model.pth")
        loader = measuring.training_loader(cfg)
        plan = [[(64, 64, 4), (96, 96, 2)]]
        counted = measuring.count_sizes(model, loader, plan)
    model.train()
    images = torch.zeros(2, 3, 96, 96)
    rest = count_flops(
        lambda: sum(map(torch.sum, model.extract_feat(images))).backward()
    )
    assert rest / 2 < counted[96, 96]
    # The heads' work goes with images: less than the pixels' ratio.
    assert 1 < counted[96, 96] / counted[64, 64] < 96**2 / 64**2


def test_predictions_are_drawn(load, tmp_path):
    cfg = load("SSc-FBS")
    with measuring.library_of(cfg):
        model = MODELS.build(cfg.model)
        torch.save(model.state_dict(), tmp_path / "model.pth")
        model = measuring.build_model(cfg, tmp_path / "model.pth")
        model.test_cfg.rcnn.score_thr = 0.0
        images = measuring.predicted_images(cfg, model, 64, count=6)
    assert images.dtype == np.uint8
    assert images.shape == (3, 320, 320, 3)  # all there are, twice as large


def test_what_the_log_holds():
    records = [
        dict(loss=1.0, step=10),
        {"loss": 0.5, "step": 20, "agvm/mu/neck": 1.5, "agvm/phi/neck": 0.25},
        {"coco/bbox_mAP": 0.125, "coco/segm_mAP": 0.25, "step": 1},
        {"loss": 0.5, "step": 30, "agvm/mu/neck": 1.75, "agvm/phi/neck": 0.5},
    ]
    assert measuring.validation_curve(DETECTION, records) == [
        (1, {"box mAP": 12.5, "mask mAP": 25.0})
    ]
    assert agvm_curves(records) == {
        "mu/neck": [(20, 1.5), (30, 1.75)],
        "phi/neck": [(20, 0.25), (30, 0.5)],
    }
