"""Run by torchrun: trains the toy model and writes what this rank has seen."""

import contextlib
import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
import toys
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import Runner

import mms_plugin  # noqa: F401
from mms_plugin.cli import leave_process_group


@MODELS.register_module()
class RankModel(toys.ToyModel):
    """One weight, whose gradient depends on samples, size and, if wanted, on draws."""

    def __init__(self, noise=False, **kwargs):
        super().__init__(**kwargs)
        self.noise = noise
        self.draws = []

    def forward(self, inputs, i, target_size=None, mode="loss"):
        super().forward(inputs, i)
        factors = 1 + i / 100
        if self.noise:
            drawn = torch.rand(len(i))
            self.draws.append(drawn.tolist())
            factors = factors * drawn
        return dict(loss=((self.weight * factors - inputs.shape[-1] / 10) ** 2).mean())


class DisturbOneRank(Hook):
    """Uses every global generator on rank 1 alone, as a user's augmentation may.

    Notes the rate of each iteration.
    """

    def __init__(self):
        self.lrs = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.lrs += runner.optim_wrapper.get_lr()["lr"]
        if get_rank() == 1:
            random.random(), np.random.rand(), torch.rand(1)


class Stop(Hook):
    """Ends the training after so many iterations, the model being written down."""

    def __init__(self, after):
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.after:
            runner.train_loop.stop_training = True
            raise KeyboardInterrupt


def main(out: str, options: str) -> None:
    # Before the runner: MMEngine would ask for a GPU.
    torch.distributed.init_process_group("gloo")
    options = json.loads(options)
    hooks = options.pop("hooks")
    stop, resume = options.pop("stop", None), options.pop("resume", False)
    train_cfg = options.pop("train_cfg", dict(by_epoch=True, max_epochs=3))
    randomness = dict(
        seed=options.pop("seed", 3),
        diff_rank_seed=options.pop("diff_rank_seed", False),
    )
    checkpoint = options.pop("checkpoint", dict(type="CheckpointHook"))
    model = options.pop("model", dict(type="RankModel"))
    wrapper = dict(type="MMDistributedDataParallel", device_ids=None)
    wrapper.update(options.pop("wrapper", {}))
    loader = toys.train_dataloader(**options)
    cfg = dict(
        model=model,
        model_wrapper_cfg=wrapper,
        work_dir=out,
        train_dataloader=loader,
        train_cfg=train_cfg,
        default_hooks=dict(checkpoint=checkpoint),
        resume=resume,
        randomness=randomness,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        param_scheduler=dict(
            type="CosineAnnealingLR", T_max=3, convert_to_iter_based=True
        ),
        custom_hooks=hooks,
        launcher="pytorch",
        env_cfg=dict(dist_cfg=dict(backend="gloo")),
        default_scope="mmengine",
        log_level="WARNING",
    )
    runner = Runner.from_cfg(Config(cfg))
    disturb = DisturbOneRank()
    runner.register_hook(disturb)  # after the sampler's, which sets the rate
    if stop:
        runner.register_hook(Stop(stop), priority="LOWEST")
    with contextlib.suppress(KeyboardInterrupt):
        runner.train()
    model = runner.model.module
    batch_sampler = runner.train_dataloader.batch_sampler
    epochs = 0 if batch_sampler.endless else 3
    seen = dict(
        shapes=model.shapes,
        samples=model.samples,
        max_iters=runner.max_iters,
        iter=runner.iter,
        weight=model.weight.item(),
        lr=runner.optim_wrapper.get_lr()["lr"],
        lrs=disturb.lrs,
        plan=[batch_sampler.plan(e) for e in range(epochs)],
    )
    if hasattr(model, "draws"):
        seen["draws"] = model.draws
    if hasattr(model, "norm"):
        seen["without_gradients"] = model.without_gradients
        norm = model.norm
        seen["statistics"] = norm.running_mean.tolist(), norm.running_var.tolist()
    Path(out, f"rank{get_rank()}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
    leave_process_group()
