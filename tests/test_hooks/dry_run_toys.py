"""What a dry run must leave alone: a model and a transform that keep all they can."""

from __future__ import annotations

import random
from contextlib import contextmanager

import numpy as np
import torch
import toys
from mmengine.model import BaseModel
from mmengine.registry import MODELS, TRANSFORMS
from torch import nn

ERRORS = dict(
    cuda=torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    other=KeyError("no such thing"),
)


calls = []


@contextmanager
def counted():
    """The calls of the model meanwhile; nothing that a model keeps of them is kept."""
    del calls[:]
    yield calls


@TRANSFORMS.register_module()
class MakeNoise:
    """An image from every random generator, mixed with the one before."""

    def __init__(self, scale):
        self.scale = scale
        self.last = 0.0
        self.own = np.random.default_rng(0)

    def __call__(self, results):
        width, height = self.scale
        level = random.random() + np.random.rand() + float(torch.rand(1))
        level += self.own.random() + 0.5 * self.last
        self.last = level
        noise = self.own.random((height, width, 3), dtype=np.float32)
        results["img"] = level + noise
        return results


@MODELS.register_module()
class KeepingNet(BaseModel):
    """Convolution, batch norm, dropout; remembers losses and shapes.

    Args:
        most: Pixels of a batch above which it raises one of ``ERRORS``.
        error: Its name; ``'real'``: the allocator's own.
    """

    def __init__(self, most=None, error=None, **kwargs):
        super().__init__(**kwargs)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Linear(4, 4).requires_grad_(False).eval()
        self.head = nn.Linear(4, 1)
        self.seen, self.total = [], 0.0
        self.register_buffer("moving", torch.zeros(1))
        self.most, self.error = most, error

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, inputs, i, target_size=None, mode="loss"):
        calls.append(None)
        pixels = inputs.shape[0] * inputs.shape[2] * inputs.shape[3]
        if self.most is not None and pixels > self.most:
            if self.error == "real":
                torch.empty(1 << 46)  # beyond any address space
            raise ERRORS[self.error]
        x = self.dropout(torch.relu(self.norm(self.conv(inputs))))
        loss = ((self.head(self.frozen(x.mean((2, 3)))) - 1) ** 2).mean()
        self.seen.append((tuple(inputs.shape), i.tolist(), self.training))
        self.total += float(loss.detach())
        self.moving = 0.9 * self.moving + loss.detach()  # another tensor each time
        return dict(loss=loss + 0.0 * random.random())


PIPELINE = [
    dict(
        type="MultiScaleTransform", transform=dict(type="MakeNoise"), size_arg="scale"
    ),
    dict(type="CollectToy"),
]


def settings(num=40, dry_run=True, curriculum=True, model=None, **changes):
    """A training's config; ``loader`` and ``hook`` in changes go to these."""
    hooks = [dict(type="DryRunHook", **changes.pop("hook", {}))] if dry_run else []
    if curriculum:
        hooks.append(dict(type="ResolutionCurriculumHook", start_sizes=[4, 5]))
    dataset = dict(type="ToyDataset", num=num, pipeline=PIPELINE)
    settings = dict(
        model={"type": "KeepingNet", **(model or {})},
        train_dataloader=toys.train_dataloader(
            dataset=dataset, **changes.pop("loader", {})
        ),
        custom_hooks=hooks,
        train_cfg=dict(by_epoch=True, max_epochs=3),
    )
    return {**settings, **changes}


@TRANSFORMS.register_module()
class CutShort:
    def __call__(self, results):
        raise OSError("picture.png is truncated")


@TRANSFORMS.register_module()
class PlainCollect:
    """As ``CollectToy``, where no size has been told."""

    def __call__(self, results):
        image = torch.from_numpy(results["img"]).permute(2, 0, 1)
        return dict(inputs=image, i=torch.tensor(results["i"]))
