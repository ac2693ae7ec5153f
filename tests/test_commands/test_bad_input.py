"""Bad input to the commands: exit code 2 and one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mms_plugin import cli
from mms_plugin.commands import train

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
            tool("train.py", "mmnothing::resnet/resnet50.py"),
            "mmnothing is not installed, and none of mmdet, mmpretrain, mms_plugin",
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


def test_a_folder_is_a_checkpoint_of_flexible_runner_only(tmp_path):
    """DeepSpeed's checkpoints are folders."""
    folder = tmp_path / "epoch_1.pth"
    folder.mkdir()
    text = "model = dict(type='NoSuchModel')\n"
    for runner_type, message in (
        ("Runner", "is not a file"),
        ("FlexibleRunner", "the runner cannot be built"),
    ):
        config = tmp_path / f"{runner_type}.py"
        config.write_text(f"{text}runner_type = {runner_type!r}\n")
        arguments = [str(config), "--resume", str(folder), "--work-dir", str(tmp_path)]
        with pytest.raises(cli.UserError, match=message):
            train.main(arguments)
