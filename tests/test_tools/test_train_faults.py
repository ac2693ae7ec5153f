"""tools/train.py meets broken checkpoints, full disks, dead workers, bad images."""

import errno
import os
import signal
from datetime import timedelta

import numpy as np
import pytest
import torch
import toys
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import TRANSFORMS
from torch.utils.data import get_worker_info

from mms_plugin import cli
from mms_plugin.utils.setting_error import SettingError

EPOCHS = 3
SEED = 3


@TRANSFORMS.register_module()
class DieInWorker:
    """Kills the worker that makes the sample ``at``, as an OOM killer would."""

    def __init__(self, at):
        self.at = at

    def __call__(self, results):
        if results["i"] == self.at and get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return results


@TRANSFORMS.register_module()
class LoadFrom:
    """An image from a file, with an error that does not name it."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, results):
        path = results["img_path"] = f"{self.folder}/{results['i']}.bin"
        with open(path, "rb") as stream:
            # Like cv2's and Pillow's errors, NumPy's says nothing of the file.
            np.frombuffer(stream.read(), np.float32).reshape(2, 2)
        return results


@TRANSFORMS.register_module()
class RefuseSample:
    """Its settings give no sample ``at``, or none at all."""

    def __init__(self, at=None):
        self.at = at

    def __call__(self, results):
        if self.at in (None, results["i"]):
            raise SettingError("depth must be 8, but is 16")
        return results


@pytest.fixture
def train(tmp_path, tool, monkeypatch):
    """Run tools/train.py in this process: (exit code, standard error)."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    count = [0]

    def run(*args, pipeline=(), **changes):
        count[0] += 1
        dataset = dict(
            type="ToyDataset",
            num=changes.pop("num", 12),
            pipeline=[*pipeline, *toys.PIPELINE],
        )
        config = dict(
            model=dict(type="ToyModel"),
            train_dataloader=toys.train_dataloader(
                dataset=dataset, num_workers=changes.pop("num_workers", 0)
            ),
            train_cfg=dict(by_epoch=True, max_epochs=EPOCHS),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
            custom_hooks=[dict(type="ResolutionCurriculumHook", start_sizes=[4])],
            default_scope="mmengine",
            experiment_name=f"{tmp_path.name}-{count[0]}",
            randomness=dict(seed=SEED),
            log_level="WARNING",
        )
        path = tmp_path / "toy.py"
        Config({**config, **changes}).dump(str(path))
        return tool("train.py", path, "--work-dir", tmp_path / "run", *args)

    return run


@pytest.fixture
def work_dir(tmp_path):
    return tmp_path / "run"


def lines_of(tool_output, start="train.py: "):
    return [line for line in tool_output.splitlines() if line.startswith(start)]


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def weight(path):
    checkpoint = torch.load(path)
    assert checkpoint["meta"]["epoch"] == EPOCHS
    return checkpoint["state_dict"]["weight"]


def test_resume_passes_over_what_is_broken(train, work_dir):
    assert train()[0] == 0
    (dumped,) = work_dir.glob("toy.py")
    written = Config.fromfile(str(dumped))
    assert written.default_hooks.checkpoint.type == "AtomicCheckpointHook"
    assert "mms_plugin" in written.custom_imports.imports
    last = work_dir / "epoch_3.pth"
    whole = weight(last)

    cut(last)
    code, text = train("--resume")
    (line,) = lines_of(text)
    assert code == 0 and f"resuming from {work_dir / 'epoch_2.pth'}" in line
    assert line.startswith("train.py: warning: --resume:")
    assert f"{last}: it is cut short" in line
    assert torch.equal(weight(last), whole)

    (work_dir / "last_checkpoint").write_text("")
    code, text = train("--resume")
    (line,) = lines_of(text)
    assert code == 0 and f"resuming from {last}" in line and "it is empty" in line

    for path in work_dir.glob("epoch_*.pth"):
        path.write_text("no checkpoint")
    code, text = train("--resume")
    (line,) = lines_of(text)
    assert code == 2 and "no checkpoint of" in line and "epoch_1.pth" in line


def test_the_first_start_of_a_loop_of_restarts(train, work_dir, tmp_path):
    """--resume before there is anything: it says so, and keeps load_from."""
    start = tmp_path / "start.pth"
    torch.save(dict(state_dict=dict(weight=torch.tensor([0.5]))), start)
    kept = dict(load_from=str(start), train_cfg=dict(by_epoch=True, max_epochs=1))
    kept.update(optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.0)))
    code, text = train("--resume", **kept)
    (line,) = lines_of(text)
    assert code == 0 and f"no checkpoint in {work_dir} yet" in line
    saved = torch.load(work_dir / "epoch_1.pth")["state_dict"]["weight"]
    assert saved.tolist() == [0.5]
    assert lines_of(train("--resume", **kept)[1]) == []


def test_a_named_checkpoint_that_cannot_be_gone_on_from(train, tmp_path):
    path = tmp_path / "a.pth"
    for content, reason in ((b"", "it is empty"), (b"PK\x03\x04 x", "it is cut short")):
        path.write_bytes(content)
        for args, changes in (
            (("--resume", path), {}),
            ((), dict(load_from=str(path), resume=True)),
            ((), dict(load_from=str(path))),
        ):
            code, text = train(*args, **changes)
            (line,) = lines_of(text)
            assert code == 2 and str(path) in line and reason in line
            assert "Traceback" not in text
    torch.save(dict(state_dict={}), path)
    code, text = train("--resume", path)
    assert code == 2 and "it holds weights, but no training" in lines_of(text)[0]


def test_a_full_disk(train, work_dir, monkeypatch):
    fsync, calls = os.fsync, [0]

    def full(handle):
        calls[0] += 1
        if calls[0] > 5:  # two for each file: the second checkpoint's
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)
    code, text = train()
    (line,) = lines_of(text)
    assert code == 1 and "Traceback" not in text
    assert (
        f"{work_dir / 'last_checkpoint'} cannot be written: No space left" in line
        or (f"{work_dir / 'epoch_2.pth'} cannot be written: No space left" in line)
    )
    assert "free in" in line and "make room; then resume" in line and "--resume" in line
    monkeypatch.setattr(os, "fsync", fsync)
    assert train("--resume")[0] == 0
    assert sorted(p.name for p in work_dir.glob("*.pth")) == [
        "epoch_1.pth", "epoch_2.pth", "epoch_3.pth",
    ]  # fmt: skip


def test_a_worker_that_is_killed(train):
    code, text = train(pipeline=[dict(type="DieInWorker", at=7)], num_workers=2)
    assert code == 1 and "Traceback" not in text
    assert "a DataLoader worker, process " in lines_of(text)[-1]
    assert "lower num_workers" in lines_of(text)[-1]


NUM = 40


def sample_of_batch(index):
    """A sample of the first (0) or the second batch (1) of ``NUM`` samples."""
    order = torch.randperm(NUM, generator=torch.Generator().manual_seed(SEED))
    # The first batch, at size 4, has 4 * (8 / 4)^2 = 16 images.
    return order.tolist()[15 + index]


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("fault", ["short", "absent"])
@pytest.mark.parametrize("batch", [0, 1])
def test_a_bad_image_is_named(train, tmp_path, num_workers, fault, batch):
    for i in range(NUM):
        (tmp_path / f"{i}.bin").write_bytes(bytes(16))
    bad = tmp_path / f"{sample_of_batch(batch)}.bin"
    bad.write_bytes(bytes(8)) if fault == "short" else bad.unlink()
    load = dict(type="LoadFrom", folder=str(tmp_path))
    code, text = train(pipeline=[load], num=NUM, num_workers=num_workers)
    last = text.strip().splitlines()[-1]
    assert last.startswith("train.py: error: ") and str(bad) in last
    # Before the first iteration it is the user's input; later, a fault of the run.
    if batch == 0:
        assert code == 2 and "Traceback" not in text and "--resume" not in last
    else:
        assert code == 1 and "Traceback" in text
        assert "failed to load a sample: " in last
        assert "then resume from the last checkpoint with --resume" in last


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("batch", [0, 1])
def test_settings_that_give_no_sample(train, num_workers, batch):
    refuse = dict(type="RefuseSample", at=sample_of_batch(batch))
    code, text = train(pipeline=[refuse], num=NUM, num_workers=num_workers)
    (line,) = lines_of(text)
    assert code == 1 and "Traceback" not in text
    said = "the settings give no sample: depth must be 8, but is 16"
    assert line.startswith(f"train.py: error: {said}")
    # Nothing to resume before the first iteration.
    assert ("then resume from the last checkpoint" in line) == (batch == 1)


def test_settings_that_give_no_first_batch(train):
    """With --recipe a first batch is tried before the training, by this hook."""
    hooks = [dict(type="ResolutionCurriculumHook", start_sizes=[4])]
    hooks.append(dict(type="FirstBatchHook"))
    code, text = train(pipeline=[dict(type="RefuseSample")], custom_hooks=hooks)
    (line,) = lines_of(text)
    assert code == 2 and "Traceback" not in text
    said = "fails to load: SettingError: depth must be 8, but is 16"
    assert f"the first batch, 12 images of 4x4, {said}" in line


class TestSaveAtomically:
    def applied(self, **config):
        config = Config(config)
        cli.save_atomically(config)
        return config

    def test_the_default(self):
        for config in ({}, dict(default_hooks=dict(timer=dict(type="IterTimerHook")))):
            config = self.applied(**config)
            assert config.default_hooks.checkpoint == dict(
                type="AtomicCheckpointHook", interval=1
            )
            assert config.custom_imports.imports == ["mms_plugin"]

    @pytest.mark.parametrize(
        "kind", ["CheckpointHook", "mmengine.CheckpointHook", CheckpointHook]
    )
    def test_its_arguments_stay(self, kind):
        hook = dict(type=kind, interval=7, save_best="auto")
        custom = [dict(type="EMAHook"), dict(hook, interval=9)]
        config = self.applied(
            default_hooks=dict(checkpoint=hook),
            custom_hooks=custom,
            custom_imports=dict(imports="mine"),
        )
        ours = dict(hook, type="AtomicCheckpointHook")
        assert config.default_hooks.checkpoint == ours
        assert config.custom_hooks == [dict(type="EMAHook"), dict(ours, interval=9)]
        assert config.custom_imports.imports == ["mine", "mms_plugin"]

    @pytest.mark.parametrize(
        "hook",
        [
            None,
            dict(type="MyCheckpointHook"),
            dict(type="mine.CheckpointHook"),
            dict(type="CheckpointHook", backend_args=dict(backend="petrel")),
            dict(type="CheckpointHook", out_dir="s3://bucket/runs"),
            dict(type="CheckpointHook", file_client_args=dict(backend="disk")),
        ],
    )
    def test_a_choice_of_the_user_stays(self, hook):
        config = self.applied(default_hooks=dict(checkpoint=hook))
        assert config.default_hooks.checkpoint == hook
        assert "custom_imports" not in config


def test_the_timeout_of_the_process_group(monkeypatch):
    given = []
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setattr(cli.launching, "has_accelerator", lambda: False)
    monkeypatch.setattr(
        torch.distributed,
        "init_process_group",
        lambda backend, **kwargs: given.append(kwargs),
    )
    cli.prepare_launcher(Config({}), "pytorch")
    env_cfg = dict(dist_cfg=dict(backend="gloo", timeout=90))
    cli.prepare_launcher(Config(dict(env_cfg=env_cfg)), "pytorch")
    assert [kwargs.get("timeout") for kwargs in given] == [None, timedelta(0, 90)]
    for timeout in (0, -1, "90", True, float("inf")):
        env_cfg = dict(dist_cfg=dict(timeout=timeout))
        with pytest.raises(cli.UserError, match="env_cfg.dist_cfg.timeout="):
            cli.prepare_launcher(Config(dict(env_cfg=env_cfg)), "pytorch")
