import importlib.util
import io
import os
import random
import sys
from contextlib import redirect_stderr
from pathlib import Path

# On the CPU also where there is a GPU; test_gpu.py has a run of its own.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import pytest
import torch
import toys
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

import mms_plugin.hooks
import mms_plugin.multi_scale  # noqa: F401
from mms_plugin.cli import end_workers


def forget_runners():
    """Drop what MMEngine's runners and scopes leave behind in the process."""
    # MMEngine has no public way to do so.
    for kept in (DefaultScope, MessageHub, MMLogger, Visualizer):
        kept._instance_dict.clear()
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def _fresh_process(monkeypatch):
    """Start each test as in a new process: no scope, known random states."""
    forget_runners()
    # Commands that run in this process set it for good: set first, so that it is put
    # back to what it was.
    monkeypatch.setenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "")
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    forget_runners()


@pytest.fixture
def make_runner(tmp_path):
    """Build a real runner around the toy model; each gets a name of its own."""
    from mmengine.config import Config
    from mmengine.runner import Runner

    count, runners = [0], []

    def make(from_cfg=True, kind=Runner, **changes):
        count[0] += 1
        cfg = dict(
            model=dict(type="ToyModel"),
            work_dir=str(tmp_path / "run"),
            train_dataloader=toys.train_dataloader(),
            train_cfg=dict(by_epoch=True, max_epochs=5),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            default_scope="mmengine",
            experiment_name=f"{tmp_path.name}-{count[0]}",
            randomness=dict(seed=3),
            log_level="WARNING",
        )
        cfg.update(changes)
        runners.append(kind.from_cfg(Config(cfg)) if from_cfg else kind(**cfg))
        return runners[-1]

    yield make
    for runner in runners:
        end_workers(runner)


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """Run a command of ``tools/`` in this process: exit code and standard error."""
    from mms_plugin import cli

    def run(name, *args):
        file = Path(__file__).resolve().parents[1] / "tools" / name
        spec = importlib.util.spec_from_file_location(f"tool_{file.stem}", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [file.name, *map(str, args)])
        monkeypatch.chdir(tmp_path)
        stream = io.StringIO()
        with redirect_stderr(stream), pytest.raises(SystemExit) as caught:
            cli.run_command(module.main)
        return caught.value.code, stream.getvalue()

    return run
