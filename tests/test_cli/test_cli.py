"""Bad input to the commands, configs of both libraries, and the shared helpers."""

import json
import math
import multiprocessing
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
import toys
from mmengine.config import Config, ConfigDict

from mms_plugin import cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "some.py"
    path.write_text("a = 1\nb = dict(c=[1, 2])\ntest_dataloader = dict()\n")
    return path


class TestBadInput:
    """Exit code 2 and one line that names what was wrong."""

    def check(self, result, *parts):
        code, text = result
        assert code == 2
        assert len(text.strip().splitlines()) == 1, text
        for part in parts:
            assert str(part) in text

    @pytest.mark.parametrize("name", ["train.py", "test.py"])
    def test_config(self, tool, tmp_path, name):
        more = [] if name == "train.py" else [tmp_path / "x.pth"]
        self.check(tool(name, "no.py", *more), "no.py", "does not exist")
        self.check(tool(name, tmp_path, *more), tmp_path, "is a folder")
        broken = tmp_path / "broken.py"
        broken.write_text("model = dict(\n")
        self.check(tool(name, broken, *more), broken, "does not load", "yntax")
        text = tmp_path / "notes.txt"
        text.write_text("hello")
        self.check(tool(name, text, *more), text, "does not load")
        imports = tmp_path / "imports.py"
        imports.write_text(
            "custom_imports = dict(imports=['no_such_module_x'], "
            "allow_failed_imports=False)\n"
        )
        self.check(tool(name, imports, *more), imports, "no_such_module_x")
        bases = tmp_path / "bases.py"
        bases.write_text("_base_ = ['./absent.py']\n")
        self.check(tool(name, bases, *more), "absent.py")

    def test_library_config(self, tool):
        pytest.importorskip("mmdet")
        self.check(tool("train.py", "mmdet::mask_rcnn/none.py"), "mask_rcnn/none.py")
        self.check(tool("train.py", "mmdet::"), "library::folder/name.py")
        self.check(
            tool("train.py", "mmnothing::resnet/resnet50.py"), "pip install mmnothing"
        )

    def test_arguments(self, tool, config_file):
        self.check(tool("train.py"), "config")
        self.check(tool("train.py", config_file, "--nonsense"), "--nonsense")
        self.check(
            tool("train.py", config_file, "--launcher", "horse"), "--launcher", "horse"
        )
        self.check(tool("test.py", config_file), "checkpoint")

    @pytest.mark.parametrize("option", ["novalue", "=3", "a=[1,2", "a=(1,2]"])
    def test_cfg_options(self, tool, config_file, option):
        result = tool("train.py", config_file, "--cfg-options", option)
        self.check(result, "--cfg-options", option)

    def test_cfg_options_that_do_not_fit(self, tool, config_file):
        self.check(tool("train.py", config_file, "--cfg-options", "b.c.7=1"), "fit")

    def test_launcher_without_its_variables(self, tool, config_file, monkeypatch):
        monkeypatch.delenv("RANK", raising=False)
        monkeypatch.chdir(config_file.parent)
        result = tool("train.py", config_file, "--launcher", "pytorch")
        self.check(result, "RANK", "tools/dist_train.sh")

    def test_checkpoint(self, tool, config_file, tmp_path):
        absent = tmp_path / "absent.pth"
        self.check(tool("test.py", config_file, absent), absent, "does not exist")
        self.check(tool("test.py", config_file, tmp_path), "is not a file")
        self.check(
            tool("train.py", config_file, "--resume", absent), "--resume", absent
        )

    def test_work_dir(self, tool, config_file):
        below_a_file = config_file / "work"
        result = tool("train.py", config_file, "--work-dir", below_a_file)
        self.check(result, "--work-dir", below_a_file)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_work_dir_without_permission(self, tool, config_file, tmp_path):
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o500)
        self.check(
            tool("train.py", config_file, "--work-dir", closed / "a"), "--work-dir"
        )

    def test_out(self, tool, config_file):
        for out in ("metrics.txt", config_file.parent / "absent" / "m.json"):
            result = tool("test.py", config_file, config_file, "--out", out)
            self.check(result, "--out", out)

    def test_nothing_to_test(self, tool, tmp_path):
        path = tmp_path / "none.py"
        path.write_text("a = 1\n")
        self.check(tool("test.py", path, path), "test_dataloader")

    def test_amp(self, tool, tmp_path):
        path = tmp_path / "amp.py"
        path.write_text("optim_wrapper = dict(type='DeepSpeedOptimWrapper')\n")
        self.check(tool("train.py", path, "--amp"), "--amp", "DeepSpeedOptimWrapper")
        path.write_text("a = 1\n")
        self.check(tool("train.py", path, "--amp"), "--amp", "optim_wrapper")

    def test_auto_scale_lr(self, tool, config_file):
        result = tool("train.py", config_file, "--auto-scale-lr")
        self.check(result, "base_batch_size")

    def test_a_config_without_a_model(self, tool, config_file, tmp_path):
        result = tool("train.py", config_file, "--work-dir", tmp_path / "w")
        self.check(result, "the runner cannot be built", "model")


@pytest.mark.parametrize("tool", ["train", "test"])
def test_help(tool):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / f"{tool}.py"), "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "--cfg-options" in done.stdout


class TestLoadConfig:
    @pytest.mark.parametrize(
        ("name", "library", "scope"),
        [
            ("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py", "mmdet", "mmdet"),
            ("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco", "mmdet", "mmdet"),
            # Not in a metafile, so found by its path.
            ("mmdet::_base_/models/mask-rcnn_r50_fpn.py", "mmdet", None),
            ("mmpretrain::resnet/resnet50_8xb32_in1k.py", "mmpretrain", "mmpretrain"),
        ],
    )
    def test_library(self, name, library, scope):
        pytest.importorskip(library)
        config = cli.load_config(name, {"model.new": 3})
        assert config.get("default_scope") == scope
        assert config.model.new == 3
        assert Path(config.filename).stem == name.rpartition("/")[2].split(".")[0]

    def test_options_reach_lists(self, config_file):
        config_file.write_text("b = dict(c=[dict(x=1), dict(x=2)])\n")
        config = cli.load_config(str(config_file), {"b.c.0.x": 5, "d.e": "x"})
        assert config.b.c == [dict(x=5), dict(x=2)] and config.d.e == "x"


class TestAmp:
    @pytest.fixture(params=[True, False], ids=["accelerator", "cpu"])
    def accelerator(self, request, monkeypatch):
        monkeypatch.setattr(
            cli.config_changes, "has_accelerator", lambda: request.param
        )
        return request.param

    def test_plain(self, accelerator):
        config = Config(dict(optim_wrapper=dict(optimizer=dict(type="SGD", lr=1.0))))
        cli.enable_amp(config)
        if accelerator:
            assert config.optim_wrapper.type == "AmpOptimWrapper"
            assert config.optim_wrapper.loss_scale == "dynamic"
        else:
            assert config.optim_wrapper.type == "BFloat16OptimWrapper"
            assert "loss_scale" not in config.optim_wrapper

    def test_set_already(self, accelerator):
        wrapper = dict(type="AmpOptimWrapper", loss_scale=128.0, dtype="float16")
        config = Config(dict(optim_wrapper=wrapper))
        cli.enable_amp(config)
        if accelerator:
            assert config.optim_wrapper == ConfigDict(wrapper)
        else:
            assert config.optim_wrapper == ConfigDict(type="BFloat16OptimWrapper")

    def test_agvm(self, accelerator):
        config = Config(dict(optim_wrapper=dict(type="AGVMOptimWrapper", agvm={})))
        cli.enable_amp(config)
        # As with the plain wrapper: the Amp one refuses the CPU.
        name = "AmpAGVMOptimWrapper" if accelerator else "BFloat16AGVMOptimWrapper"
        assert config.optim_wrapper.type == name


def test_debugging_keeps_the_traceback(tmp_path, monkeypatch):
    broken = tmp_path / "broken.py"
    broken.write_text("model = dict(\n")
    with pytest.raises(cli.UserError):
        cli.load_config(str(broken))
    monkeypatch.setenv("MMS_DEBUG", "1")
    with pytest.raises(SyntaxError):
        cli.load_config(str(broken))


def test_a_fault_after_the_first_iteration_is_no_bad_input():
    """It keeps its traceback; before, it is shown as the user's."""

    class Runner:
        cfg = dict()

        def register_hook(self, hook):
            self.hook = hook

    runner = Runner()
    with pytest.raises(cli.UserError, match="sizes is empty"), cli.run_started(runner):
        raise ValueError("sizes is empty")
    with pytest.raises(ValueError, match="NaN"), cli.run_started(runner):
        runner.hook.before_train_iter(runner, 0)
        raise ValueError("loss is NaN")


def test_dataloader_defaults_are_for_mmpretrain_alone():
    loader = dict(num_workers=2, collate_fn=dict(type="mine"))
    config = Config(
        dict(
            default_scope="mmpretrain",
            train_dataloader=dict(num_workers=0),
            test_dataloader=loader,
            val_dataloader=None,
        )
    )
    cli.set_dataloader_defaults(config)
    assert config.train_dataloader.collate_fn == dict(type="default_collate")
    # torch refuses persistent workers where there are none.
    assert config.train_dataloader.persistent_workers is False
    assert config.test_dataloader.persistent_workers is True
    assert config.test_dataloader.collate_fn == dict(type="mine")
    config = Config(dict(default_scope="mmdet", train_dataloader=dict(batch_size=1)))
    cli.set_dataloader_defaults(config)
    assert config.train_dataloader == dict(batch_size=1)


def test_plain_is_json():
    value = {
        "a": np.float32(0.5),
        1: [np.int64(3), float("nan"), math.inf],
        "b": np.arange(2),
        "c": None,
    }
    text = json.dumps(cli.plain(value), allow_nan=False)
    assert json.loads(text) == {"a": 0.5, "1": [3, None, None], "b": [0, 1], "c": None}


def test_one_line_shows_the_cause():
    try:
        try:
            raise ImportError("mms_plugin supports mmdet >=3")
        except ImportError as error:
            raise ImportError("Failed to import mms_plugin") from error
    except ImportError as error:
        assert cli.one_line(error) == "mms_plugin supports mmdet >=3"
    worker = ValueError(
        "Caught ValueError in DataLoader worker process 0.\n"
        "Original Traceback (most recent call last):\n  File x\n"
        "ValueError: sizes is empty\n"
    )
    assert cli.one_line(worker) == "ValueError: sizes is empty"
    assert cli.one_line(KeyError("a is\nmissing")) == "KeyError: a is missing"


def test_a_reader_that_has_seen_enough():
    code = (
        "from mms_plugin import cli; cli.run_command(lambda _: print('a\\n' * 10**6))"
    )
    command = f'{shlex.quote(sys.executable)} -c "{code}" | head -n 1'
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", "")


@pytest.mark.parametrize("by_epoch", [True, False])
def test_workers_end_with_the_run(make_runner, by_epoch):
    loader = toys.train_dataloader(num_workers=1, persistent_workers=True)
    train_cfg = dict(by_epoch=True, max_epochs=1)
    if not by_epoch:
        train_cfg = dict(by_epoch=False, max_iters=3)
    runner = make_runner(train_dataloader=loader, train_cfg=train_cfg)
    before = set(multiprocessing.active_children())
    during = []
    with cli.run_started(runner):
        runner.train()
        during += set(multiprocessing.active_children()) - before
    assert during and not any(worker.is_alive() for worker in during)


def group_threads():
    """Threads of gloo's process groups in this process."""
    names = (
        path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")
    )
    return [name for name in names if "gloo" in name]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux")
def test_no_thread_outlives_the_process_group(tmp_path):
    assert not group_threads()
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    dist.barrier()  # the thread has its name now
    holder = [dist.group.WORLD]
    holder.append(holder)  # as a runner does
    del holder
    assert group_threads()
    cli.leave_process_group()
    assert not group_threads() and not dist.is_initialized()
