"""Small models and loops for the tests of AGVM."""

import contextlib
import copy
import logging

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import nn


def _fused_runs():
    """Try torch's fused optimizers, which the CPU has from torch 2.4 on."""
    try:
        for cls in (torch.optim.AdamW, torch.optim.SGD):
            cls([nn.Parameter(torch.zeros(1))], lr=0.1, fused=True)
    except (RuntimeError, TypeError):
        return False
    return True


needs_fused = pytest.mark.skipif(
    not _fused_runs(), reason="this torch has no fused optimizers for the CPU"
)


class ToyDetector(BaseModel):
    """Convolutional net with a detector's parts, and one parameter outside them."""

    def __init__(self, mask_head=False):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3))
        self.neck = nn.Conv2d(6, 5, 1)
        self.rpn_head = nn.Conv2d(5, 2, 1)
        self.roi_head = nn.Module()
        self.roi_head.bbox_head = nn.Linear(5, 3)
        if mask_head:
            self.roi_head.mask_head = nn.Linear(5, 2)
        self.scale = nn.Parameter(torch.tensor([1.0, 0.5]))

    def forward(self, inputs, data_samples=None, mode="loss", masks=True):
        x = self.neck(self.backbone(inputs).tanh()).tanh()
        rpn = self.rpn_head(x).pow(2).mean() * self.scale[0]
        pooled = x.mean((2, 3))
        target = inputs.mean((2, 3))
        box = (self.roi_head.bbox_head(pooled) - target).pow(2).mean() * self.scale[1]
        losses = dict(loss_rpn=rpn, loss_box=box)
        if masks and hasattr(self.roi_head, "mask_head"):
            mask = self.roi_head.mask_head(pooled)
            losses["loss_mask"] = (mask - target[:, :2]).pow(2).mean()
        return losses


TOY_MODULES = ["backbone", "neck", "rpn_head", "roi_head.bbox_head"]


def toy_batch(seed, size=4, side=10):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, 3, side, side, generator=generator) + 0.3


def build(model, optimizer=None, agvm=None, **kwargs):
    optimizer = optimizer or dict(type="SGD", lr=0.1, momentum=0.9)
    agvm = dict(dict(interval=1, start_iter=0, momentum=0.5), **(agvm or {}))
    kwargs.setdefault("type", "AGVMOptimWrapper")
    return build_optim_wrapper(
        model,
        dict(
            constructor="AGVMOptimWrapperConstructor",
            optimizer=optimizer,
            agvm=agvm,
            **kwargs,
        ),
    )


def build_plain(model, optimizer=None, **kwargs):
    optimizer = optimizer or dict(type="SGD", lr=0.1, momentum=0.9)
    return build_optim_wrapper(
        model, dict(type="OptimWrapper", optimizer=optimizer, **kwargs)
    )


def train_iteration(model, wrapper, batch, **kwargs):
    """Do what ``BaseModel.train_step`` does, DDP included."""
    inner = getattr(model, "module", model)
    with wrapper.optim_context(model):
        losses = model(batch, **kwargs)
    wrapper.update_params(inner.parse_losses(losses)[0])


def train(model, wrapper, batches, start=0, total=None, **kwargs):
    """Train as a runner does, from iteration ``start``."""
    total = start + len(batches) if total is None else total
    wrapper.initialize_count_status(model, start, total)
    for batch in batches:
        train_iteration(model, wrapper, batch, **kwargs)


def gradients_in_float64(model, batch, **kwargs):
    """Return gradients of a batch by name, from a copy of the model in float64."""
    twin = copy.deepcopy(model).double()
    twin.zero_grad()
    losses = twin(batch.double(), **kwargs)
    twin.parse_losses(losses)[0].backward()
    return {
        k: np.zeros(p.shape) if p.grad is None else p.grad.numpy()
        for k, p in twin.named_parameters()
    }


def module_vector(gradients, module):
    """Return the gradients of one of the toy's modules as one vector."""
    return np.concatenate(
        [
            gradient.ravel()
            for name, gradient in gradients.items()
            if name.startswith(module + ".") or (module, name) == ("rest", "scale")
        ]
    )


def hold_multipliers(wrapper, **multipliers):
    """Set multipliers by the last part of a module's name; all others to 1."""
    for name in wrapper.agvm.modules:
        wrapper.agvm.multipliers[name] = multipliers.get(name.split(".")[-1], 1.0)
    return wrapper


def make_toy(seed=0, **kwargs):
    torch.manual_seed(seed)
    return ToyDetector(**kwargs)


def weights(model):
    inner = getattr(model, "module", model)
    return {k: p.detach().clone() for k, p in inner.named_parameters()}


@contextlib.contextmanager
def logged():
    """Collect the messages of MMEngine's logger in a list."""
    messages = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)
