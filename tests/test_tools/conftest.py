"""A small real training for the commands: mmpretrain's ResNet on 12 pictures."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Callable

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mms_plugin'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18, stem_channels=8, base_channels=8),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=2, in_channels=64,
        loss=dict(type='CrossEntropyLoss'), topk=(1, )))
data_preprocessor = dict(num_classes=2, mean=[127.] * 3, std=[60.] * 3, to_rgb=True)
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=32),
    dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={data!r}, pipeline=pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_root={data!r}, test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(32, 32)),
            dict(type='PackInputs')]))
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9))
train_cfg = dict(by_epoch=True, max_epochs=2)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, save_best='auto'))
randomness = dict(seed=0)
"""


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Two folders of six pictures, dark and bright."""
    cv2 = pytest.importorskip("cv2")
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for name, level in (("bright", 190), ("dark", 60)):
        (root / name).mkdir()
        for index in range(6):
            image = np.clip(rng.normal(level, 25, (40, 48, 3)), 0, 255)
            cv2.imwrite(str(root / name / f"{index}.png"), image.astype(np.uint8))
    return root


@pytest.fixture(scope="session")
def config_file(pictures, tmp_path_factory):
    pytest.importorskip("mmpretrain")
    path = tmp_path_factory.mktemp("config") / "tiny_resnet.py"
    path.write_text(CONFIG.replace("{data!r}", repr(str(pictures))))
    return path


@pytest.fixture(scope="session")
def run_tool(tmp_path_factory) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run a command of tools/ in a process of its own, in a folder of its own."""
    folder = tmp_path_factory.mktemp("cwd")

    def run(name, *args, timeout=240, env=None, cwd=None):
        command = [str(ROOT / "tools" / name), *map(str, args)]
        if name.endswith(".py"):
            command.insert(0, sys.executable)
        else:
            command.insert(0, "bash")
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd or folder,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHON": sys.executable,
                **(env or {}),
            },
        )

    return run


@pytest.fixture(scope="session")
def free_port() -> Callable[[], str]:
    """A port that nothing listens on, another one at each call."""

    def find():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return str(probe.getsockname()[1])

    return find


@pytest.fixture(scope="session")
def trained(config_file, run_tool, tmp_path_factory):
    """A work dir of two epochs by tools/train.py."""
    work_dir = tmp_path_factory.mktemp("trained")
    done = run_tool("train.py", config_file, "--work-dir", work_dir)
    assert done.returncode == 0, done.stderr[-3000:]
    return work_dir
