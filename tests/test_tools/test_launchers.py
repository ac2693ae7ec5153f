"""The launch scripts: real processes over two nodes, and what they refuse."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import toys

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"


@pytest.fixture
def start(tmp_path):
    """Start dist_train.sh as one node of a training; kill what is left at the end."""
    config = tmp_path / "toy.py"
    settings = dict(
        custom_imports=dict(imports=["launch_toys"], allow_failed_imports=False),
        model=dict(type="IndexNet"),
        train_dataloader=toys.train_dataloader(num=101),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        custom_hooks=[
            dict(type="ResolutionCurriculumHook", start_sizes=[4, 6]),
            dict(type="RecordRank"),
        ],
        default_scope="mmengine",
        randomness=dict(seed=3),
        log_level="WARNING",
    )
    config.write_text("\n".join(f"{k} = {v!r}" for k, v in settings.items()))
    running = []
    logs = []  # a pipe that nobody reads could fill up

    def start(work_dir, gpus, **environment):
        paths = [str(ROOT), str(TESTS), str(TESTS / "test_tools")]
        logs.append(tmp_path / f"node{len(logs)}.log")
        process = subprocess.Popen(
            ["bash", str(ROOT / "tools" / "dist_train.sh"), str(config), str(gpus)]
            + ["--work-dir", str(work_dir), "--dry-run-sizes"],
            stderr=stack.enter_context(logs[-1].open("w")),
            stdout=subprocess.DEVNULL,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHON": sys.executable,
                "PYTHONPATH": os.pathsep.join(paths),
                **environment,
            },
        )
        running.append(process)

    def finish():
        """Wait for all nodes."""
        end = time.monotonic() + 240
        try:
            codes = [p.wait(max(1, end - time.monotonic())) for p in running]
        except subprocess.TimeoutExpired:
            codes = [p.poll() for p in running]
        said = [log.read_text()[-9000:] for log in logs]
        assert codes == [0] * len(running), "\n".join(said)

    start.finish = finish
    with contextlib.ExitStack() as stack:
        yield start
    for process in running:
        if process.poll() is None:
            process.kill()


@pytest.mark.distributed
@pytest.mark.timeout(300)
@pytest.mark.skipif(torch.cuda.is_available(), reason="four processes, no four GPUs")
def test_two_nodes_of_two_are_four_ranks(start, free_port, tmp_path):
    nodes = dict(NNODES="2", MASTER_ADDR="127.0.0.1", PORT=free_port())
    start(tmp_path / "w", 2, NODE_RANK="1", **nodes)  # it waits
    start(tmp_path / "w", 2, NODE_RANK="0", **nodes)
    start.finish()
    ranks = [json.loads((tmp_path / f"w/rank{r}.json").read_text()) for r in range(4)]
    assert "DryRunHook" in (tmp_path / "w/toy.py").read_text()
    # Rank by rank the samples that MMEngine's sampler gives to four ranks.
    for rank, record in enumerate(ranks):
        expected = []
        for epoch in range(3):
            order = torch.randperm(101, generator=torch.manual_seed(3 + epoch)).tolist()
            expected += [*order, *order[:3]][rank::4]
        assert [i for _, _, seen in record["seen"] for i in seen] == expected
    weight = ranks[0]["weight"]
    assert weight != 0 and all(rank["weight"] == weight for rank in ranks)
    assert len({len(rank["seen"]) for rank in ranks}) == 1
    steps = list(zip(*(rank["seen"] for rank in ranks)))
    for step in steps:
        assert len({(height, width) for height, width, _ in step}) == 1
    # By hand: one step of gradient descent after another on the ranks' mean.
    value = 0.0
    for step in steps:
        grads = [
            sum(2 * side * (value * side - i) for i in seen) / len(seen) / 1e4
            for side, _, seen in step
        ]
        value -= 0.1 * sum(grads) / len(grads)
    assert weight == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("name", ["dist_train.sh", "dist_test.sh"])
@pytest.mark.parametrize(
    "gpus, environment, message",
    [
        ("many", {}, "GPUS is a number of at least 1, not 'many'"),
        ("0", {}, "GPUS is a number of at least 1, not '0'"),
        ("-2", {}, "GPUS is a number of at least 1, not '-2'"),
        ("2", dict(NNODES="two"), "NNODES is a number of at least 1, not 'two'"),
        ("2", dict(NODE_RANK="1"), "NODE_RANK=1 must be below NNODES=1"),
        (
            "2",
            dict(NNODES="2", NODE_RANK="2", MASTER_ADDR="a"),
            "NODE_RANK=2 must be below NNODES=2",
        ),
        ("2", dict(NODE_RANK="x"), "NODE_RANK is a number of at least 0, not 'x'"),
        (
            "2",
            dict(NNODES="2", NODE_RANK="1"),
            "NODE_RANK=1 needs MASTER_ADDR, the address of the node with NODE_RANK=0",
        ),
        ("2", dict(PORT="http"), "PORT is a number of at least 1, not 'http'"),
        ("2", dict(PORT="70000"), "PORT is a number up to 65535, not '70000'"),
    ],
)
def test_bad_input_is_one_line(run_tool, name, gpus, environment, message):
    unset = {"MASTER_ADDR": "", "NNODES": "", "NODE_RANK": "", "PORT": ""}
    arguments = ["c.py", "c.pth", gpus] if name == "dist_test.sh" else ["c.py", gpus]
    done = run_tool(name, *arguments, env={**unset, **environment})
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{name}: error: {message}")


def test_a_port_in_use_is_one_line(run_tool):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_tool("dist_train.sh", "c.py", "2", env={"PORT": port})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"PORT={port} is in use on this machine; set PORT to a free one" in line


@pytest.mark.parametrize("name", ["GPUS", "GPUS_PER_NODE", "CPUS_PER_TASK"])
@pytest.mark.parametrize("script", ["slurm_train.sh", "slurm_test.sh"])
def test_bad_numbers_for_slurm(run_tool, tmp_path, script, name):
    srun = tmp_path / "srun"
    srun.write_text("#!/bin/bash\n")
    srun.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = run_tool(script, "p", "j", "c.py", "w", env={"PATH": path, name: "a few"})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == f"{script}: error: {name} is a number of at least 1, not 'a few'"


def test_without_slurm(run_tool, tmp_path):
    if any(Path(p, "srun").exists() for p in os.environ["PATH"].split(os.pathsep)):
        pytest.skip("srun is here")
    done = run_tool("slurm_train.sh", "p", "j", "c.py", "w")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "srun is missing" in done.stderr and "tools/dist_train.sh" in done.stderr
