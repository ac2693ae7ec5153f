"""Run by torchrun: trainings with the hook and without, and some that fail."""

import json
import logging
import os
import random
import sys
from pathlib import Path

import dry_run_toys
import numpy as np
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import MODELS
from mmengine.runner import Runner

import mms_plugin  # noqa: F401

AGVM = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9),
    agvm=dict(modules=["conv", "head"], anchor="conv", interval=2, start_iter=0),
)


@MODELS.register_module()
class BranchingNet(dry_run_toys.KeepingNet):
    """Leaves its second head out at the sizes of the first epoch, 4 and 5."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.second = torch.nn.Linear(4, 1)

    def forward(self, inputs, i, target_size=None, mode="loss"):
        losses = super().forward(inputs, i, target_size, mode)
        if inputs.shape[2] > 5:
            losses["loss_second"] = self.second(self.conv(inputs).mean((2, 3))).sum()
        return losses


@MODELS.register_module()
class MeetingNet(dry_run_toys.KeepingNet):
    """Has a collective of its own in its forward pass."""

    def forward(self, inputs, i, target_size=None, mode="loss"):
        losses = super().forward(inputs, i, target_size, mode)
        mean = losses["loss"].detach().clone()
        dist.all_reduce(mean)
        return dict(loss=losses["loss"] / mean)


class Trainings:
    def __init__(self, out):
        self.out, self.count = out, 0

    def __call__(self, dry_run, wrapper=None, **changes):
        self.count += 1
        changes.setdefault("optim_wrapper", dict(optimizer=dict(type="AdamW", lr=0.01)))
        cfg = dry_run_toys.settings(dry_run=dry_run, **changes)
        cfg.update(
            model_wrapper_cfg=dict(
                type="MMDistributedDataParallel", device_ids=None, **(wrapper or {})
            ),
            work_dir=self.out,
            # As where a config takes it from the name of the host.
            experiment_name=f"training_{self.count}_on_{os.environ['RANK']}",
            launcher="pytorch",
            env_cfg=dict(dist_cfg=dict(backend="gloo")),
            default_scope="mmengine",
            log_level="WARNING",
            randomness=dict(seed=3),
        )
        runner = Runner.from_cfg(Config(cfg))
        runner.train()
        return runner

    def same(self, **changes):
        """Whether the hook changes nothing that can be seen."""
        ends = []
        for dry_run in (True, False):
            runner = self(dry_run, **changes)
            ends.append((runner, random.random(), np.random.rand(), torch.rand(1)))
        (one, *after), (two, *expected) = ends
        state = two.model.state_dict()
        return (
            all(torch.equal(v, state[k]) for k, v in one.model.state_dict().items())
            and one.model.module.seen == two.model.module.seen
            and len(one.model.module.seen) == one.iter > 4
            and after == expected
        )


def measures(trainings):
    """Whether AGVM trains the same, and warns of nothing in the dry run."""
    warnings = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())
    # Each runner has a logger of its own.
    create = MMLogger.get_instance

    def get_instance(*args, **kwargs):
        logger = create(*args, **kwargs)
        if handler not in logger.handlers:
            logger.addHandler(handler)
        return logger

    MMLogger.get_instance = get_instance
    try:
        same = trainings.same(optim_wrapper=AGVM)
    finally:
        MMLogger.get_instance = create
    return same and not any("no measurement" in text for text in warnings)


def refused(trainings):
    try:
        trainings(True, wrapper=dict(static_graph=True))
    except ValueError as error:
        return "static_graph=True learns it" in str(error)
    return False


def main(out):
    dist.init_process_group("gloo")
    rank, trainings = dist.get_rank(), Trainings(out)
    result = dict(
        plain=trainings.same(wrapper=dict(broadcast_buffers=True)),
        accumulated=trainings.same(
            optim_wrapper=dict(
                optimizer=dict(type="SGD", lr=0.01), accumulative_counts=2
            )
        ),
        unused=trainings.same(
            model=dict(type="BranchingNet"), wrapper=dict(find_unused_parameters=True)
        ),
        static=refused(trainings),
        agvm=measures(trainings),
        collective=trainings.same(model=dict(type="MeetingNet")),
    )
    full = dict(most=255 if rank == 1 else None, error="cuda")
    for name, changes in dict(told={}, told_agvm=dict(optim_wrapper=AGVM)).items():
        try:
            # A rank that waits for the grace to end would outlast the test.
            trainings(True, model=full, hook=dict(grace=3600.0), **changes)
        except ValueError as error:
            result[name] = str(error)
    path = Path(out, f"rank{rank}.json")
    path.write_text(json.dumps(result))
    # The other rank waits in a collective of the model's.
    trainings(True, model=dict(full, type="MeetingNet"), hook=dict(grace=1.0))


if __name__ == "__main__":
    main(*sys.argv[1:])
