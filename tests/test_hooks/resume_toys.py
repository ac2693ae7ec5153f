"""Trainings that are cut off and resumed: models, datasets and hooks for them."""

from __future__ import annotations

import os
import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, MODELS, TRANSFORMS

CURRICULUM = dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])
LOADED = "MMS_TEST_LOADED"


@TRANSFORMS.register_module()
class RandomImage:
    """Draws from all three generators, and notes which sample it was asked for."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, results):
        with open(os.environ[LOADED], "a") as file:
            file.write(f"{results['i']}\n")
        width, height = self.scale
        image = np.random.rand(height, width, 3).astype(np.float32)
        image += random.random() + torch.rand(1).item()
        return dict(results, img=image)


@TRANSFORMS.register_module()
class AtSize:
    def __call__(self, results):
        return dict(results, target_size=(8, 8))


@MODELS.register_module()
class ModelWithDropout(BaseModel):
    """Draws in its forward pass, keeps running statistics."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        torch.manual_seed(5)
        self.backbone = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        )
        self.head = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 3))

    def forward(self, inputs, i, target_size=None, mode="loss"):
        features = self.backbone(inputs).relu().mean((2, 3))
        return dict(loss=self.head(features).logsumexp(1).mean())


@HOOKS.register_module()
class Seen(Hook):
    """Notes size and samples of every batch that is trained on."""

    def __init__(self):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        size = tuple(data_batch["inputs"].shape[2:])
        self.batches.append((size, data_batch["i"].tolist()))


@HOOKS.register_module()
class Stop(Hook):
    """Ends a training after an iteration as a failure would."""

    priority = "LOWEST"

    def __init__(self, after):
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.after:
            raise KeyboardInterrupt


def dataset(num):
    return dict(
        type="ToyDataset",
        num=num,
        pipeline=[
            dict(type="MultiScaleTransform", transform=dict(type="RandomImage")),
            dict(type="CollectToy"),
        ],
    )


ITERATIONS = dict(
    train_cfg=dict(by_epoch=False, max_iters=30, val_interval=100),
    param_scheduler=dict(type="CosineAnnealingLR", T_max=30, by_epoch=False),
)
AGVM = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=0.01),
    agvm=dict(interval=4, start_iter=4, modules=["backbone", "head"]),
)


INFINITE = dict(type="InfiniteSampler")


def used(runner):
    """Return the samples that were trained on, in order."""
    return [i for _, batch in runner.seen for i in batch]
