"""Every command and every recipe on a new-style config: classes and read_base."""

import json
import os

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("matplotlib")
pytestmark = pytest.mark.timeout(600)

# Base and leaf; MMEngine parses them as text, and builds no class while it does.
BASE = """
from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.optim import CosineAnnealingLR, OptimWrapper
from mmpretrain.datasets import CustomDataset, PackInputs, RandomResizedCrop
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import (
    CrossEntropyLoss, GlobalAveragePooling, ImageClassifier, LinearClsHead, ResNet)
from torch.optim import SGD

default_scope = 'mmpretrain'
model = dict(
    type=ImageClassifier,
    backbone=dict(type=ResNet, depth=18, stem_channels=8, base_channels=8),
    neck=dict(type=GlobalAveragePooling),
    head=dict(
        type=LinearClsHead, num_classes=2, in_channels=64,
        loss=dict(type=CrossEntropyLoss), topk=(1, )))
data_preprocessor = dict(num_classes=2, mean=[127.] * 3, std=[60.] * 3, to_rgb=True)
train_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=RandomResizedCrop, scale=64),
    dict(type=PackInputs)]
test_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=Resize, scale=(64, 64)),
    dict(type=PackInputs)]
train_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(type=CustomDataset, data_root=DATA, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=CustomDataset, data_root=DATA, test_mode=True, pipeline=test_pipeline))
val_evaluator = dict(type=Accuracy, topk=(1, ))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
optim_wrapper = dict(
    type=OptimWrapper, optimizer=dict(type=SGD, lr=0.05, momentum=0.9))
param_scheduler = [dict(type=CosineAnnealingLR, T_max=1, by_epoch=True)]
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(type=LoggerHook, interval=1),
    checkpoint=dict(type=CheckpointHook, interval=1))
"""
LEAF = """
from mmengine.config import read_base

with read_base():
    from .base import *

train_cfg = dict(by_epoch=True, max_epochs=1)
randomness = dict(seed=0)
"""


@pytest.fixture(scope="module")
def new_style(pictures, tmp_path_factory):
    root = tmp_path_factory.mktemp("new_style")
    (root / "base.py").write_text(BASE.replace("DATA", repr(str(pictures))))
    (root / "leaf.py").write_text(LEAF)
    return root / "leaf.py"


@pytest.fixture(scope="module")
def trained_new_style(new_style, run_tool, tmp_path_factory):
    """A run with all that train.py rewrites, its checkpoint among what it leaves."""
    work_dir = tmp_path_factory.mktemp("trained_new_style")
    done = run_tool(
        "train.py", new_style, "--work-dir", work_dir, "--amp", "--dry-run-sizes",
        "--recipe", "vbs-cur",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (work_dir / "epoch_1.pth").is_file()
    return work_dir


def test_a_training_can_be_resumed_from_the_config_that_it_leaves(
    trained_new_style, run_tool
):
    text = (trained_new_style / "leaf.py").read_text()
    for name in ("MultiScaleTransform", "BFloat16OptimWrapper", "DryRunHook",
                 "AtomicCheckpointHook"):  # fmt: skip
        assert name in text or (name == "BFloat16OptimWrapper" and "Amp" in text)
    done = run_tool(
        "train.py", trained_new_style / "leaf.py", "--work-dir", trained_new_style,
        "--resume", "--cfg-options", "train_cfg.max_epochs=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (trained_new_style / "epoch_2.pth").is_file()


@pytest.mark.parametrize("recipe", ["vbs", "agvm", "vbs-cur+agvm"])
def test_recipes(new_style, run_tool, tmp_path, recipe):
    done = run_tool("train.py", new_style, "--work-dir", tmp_path, "--recipe", recipe)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "epoch_1.pth").is_file()


def test_sizes_and_corruptions(new_style, trained_new_style, run_tool, tmp_path):
    pytest.importorskip("imagecorruptions")
    done = run_tool(
        "test.py", new_style, trained_new_style / "epoch_1.pth", "--sizes", 32, 64,
        "--corruptions", "brightness", "--severities", 3, "--json",
        "--work-dir", tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads(done.stdout)["results"]
    assert [(r["size"], r["corruption"]) for r in results] == [
        (32, None), (64, None), (32, "brightness"), (64, "brightness"),
    ]  # fmt: skip
    plain = run_tool(
        "test.py", new_style, trained_new_style / "epoch_1.pth", "--json",
        "--work-dir", tmp_path / "plain", "--test-data", new_style,
    )  # fmt: skip
    assert plain.returncode == 0, plain.stderr[-3000:]
    assert (
        json.loads(plain.stdout)["accuracy/top1"]
        == (results[1]["metrics"]["accuracy/top1"])
    )


def test_analysis_tools(new_style, trained_new_style, run_tool, tmp_path):
    checkpoint = trained_new_style / "epoch_1.pth"
    commands = {
        "browse_batches.py": [trained_new_style / "leaf.py", "--out", tmp_path / "b"],
        "training_cost.py": [
            new_style, "--recipe", "vbs-cur", "--baseline", new_style,
        ],
        "calibrate_batch_sizes.py": [
            new_style, "--sizes", 32, 64, "--repeats", 2, "--warmup", 1,
        ],
        "plot_training.py": [trained_new_style, "--out", tmp_path / "p"],
        "reliability.py": [new_style, checkpoint, "--out", tmp_path / "r.png"],
    }  # fmt: skip
    for name, arguments in commands.items():
        done = run_tool(
            os.path.join("analysis_tools", name), *arguments, "--json", cwd=tmp_path
        )
        assert done.returncode == 0, (name, done.stderr[-3000:])
        assert json.loads(done.stdout), name


def test_reliability_keeps_the_class_that_a_config_imports(tmp_path):
    from mms_plugin import cli
    from mms_plugin.commands.reliability import among_the_classes_of

    path = tmp_path / "config.py"
    path.write_text(
        "from mms_plugin.evaluation import CalibrationError, ClassSubset\n"
        "test_evaluator = dict(type=ClassSubset, class_indices=[3, 1],\n"
        "                      metric=dict(type=CalibrationError))\n"
    )
    config = cli.load_config(str(path))
    config.test_evaluator = among_the_classes_of(
        config.get("test_evaluator"), dict(type="CalibrationError", num_bins=3)
    )
    config.dump(tmp_path / "dumped.py")  # as a runner does
    own = cli.load_config(str(tmp_path / "dumped.py")).test_evaluator
    assert own.type == "mms_plugin.evaluation.ClassSubset"
    assert own.metric == dict(type="CalibrationError", num_bins=3)
    assert own.class_indices == [3, 1]
