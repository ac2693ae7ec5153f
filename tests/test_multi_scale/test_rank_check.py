"""Two processes with different data or settings: refused on both before they train."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
from datetime import timedelta
import torch.distributed as dist
import toys
from mmengine.config import Config
from mmengine.runner import Runner
from mms_plugin.cli import leave_process_group

rank, folder, trainings = sys.argv[1:]
dist.init_process_group(
    "gloo", init_method=f"file://{folder}/store", rank=int(rank), world_size=2,
    timeout=timedelta(seconds=60),
)
for name, options in json.loads(trainings).items():
    runner = Runner.from_cfg(Config(dict(
        model=dict(type="ToyModel"),
        model_wrapper_cfg=dict(type="MMDistributedDataParallel", device_ids=None),
        work_dir=f"{folder}/{name}",
        experiment_name=name,
        train_dataloader=toys.train_dataloader(**options),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        custom_hooks=[dict(type="MultiScaleSamplerHook")],
        default_hooks=dict(checkpoint=None),
        randomness=dict(seed=3),
        launcher="pytorch",
        env_cfg=dict(dist_cfg=dict(backend="gloo")),
        default_scope="mmengine",
    )))
    try:
        runner.train()
        print(name, "trained", runner.iter)
    except ValueError as error:
        print(name, "refused", runner.iter, error)
leave_process_group()
"""

USUAL = dict(num=40, seed=3)
ROUND_DOWN = dict(sampler=dict(type="DefaultSampler", shuffle=True, round_up=False))
TRAININGS = dict(
    samples=(USUAL, dict(USUAL, num=26)),
    batches=(USUAL, dict(USUAL, batch_size=3)),
    seeds=(USUAL, dict(USUAL, seed=5)),
    shares=(dict(ROUND_DOWN, num=41), dict(ROUND_DOWN, num=41)),
)


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """Run all trainings on two ranks; what each has printed, by the training."""
    folder = tmp_path_factory.mktemp("ranks")
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    environment = dict(
        os.environ,
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
        OMP_NUM_THREADS="1",
        WORLD_SIZE="2",
    )
    processes = []
    for rank in map(str, range(2)):
        own = {name: options[int(rank)] for name, options in TRAININGS.items()}
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", SCRIPT, rank, str(folder), json.dumps(own)],
                stdout=subprocess.PIPE,
                text=True,
                env=dict(environment, RANK=rank, LOCAL_RANK=rank),
            )
        )
    found = {name: [] for name in TRAININGS}
    for process in processes:
        out, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        for line in out.splitlines():
            name, _, text = line.partition(" ")
            if name in found:
                found[name].append(text)
    return found


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("name", "differs"),
    [
        ("samples", "num_samples=40 on rank 0, 26 on rank 1"),
        ("batches", "batch_size=4 on rank 0, 3 on rank 1"),
        ("seeds", "seed=3 on rank 0, 5 on rank 1"),
    ],
)
def test_ranks_that_differ_are_refused_on_both(printed, name, differs):
    one, other = printed[name]
    assert one == other
    assert one.startswith("refused 0 all ranks must have the same data and settings")
    assert differs in one and "different sizes" in one


@pytest.mark.distributed
def test_ranks_of_unequal_shares_train(printed):
    one, other = printed["shares"]
    assert one == other and one.startswith("trained ") and one != "trained 0"
