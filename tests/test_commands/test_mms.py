"""The ``mms`` command runs without the checkout's ``tools/``."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from mmengine.config import Config

import mms_plugin
from mms_plugin.commands import mms


@pytest.fixture
def run(tmp_path):
    """Run ``python -m mms_plugin`` in an empty folder, the package importable."""
    folders = [Path(mms_plugin.__file__).parents[1], Path(__file__).parents[1]]

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "mms_plugin", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(map(str, folders)),
            },
        )

    return run


@pytest.mark.parametrize("name", mms.COMMANDS)
def test_help_names_the_command(name, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mms"])
    with pytest.raises(SystemExit) as ended:
        mms.main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: mms {name} [-h]")


def test_help_lists_the_commands(capsys):
    with pytest.raises(SystemExit) as ended:
        mms.main(["--help"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out.split("of each):\n")[1]
    assert [line.split()[0] for line in listed.splitlines()] == list(mms.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["race"]])
def test_a_command_that_does_not_exist(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        mms.main(arguments)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("mms: error: ") and "COMMAND" in error
    assert error.count("\n") == 1


def test_version(capsys):
    with pytest.raises(SystemExit):
        mms.main(["--version"])
    assert capsys.readouterr().out == f"{mms_plugin.__version__}\n"


def test_bad_input_of_a_command(run):
    done = run("cost", "nowhere.py", "--json")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == "mms cost: error: config nowhere.py does not exist\n"


def test_trains_and_draws_without_a_checkout(run, tmp_path):
    config = dict(
        custom_imports=dict(imports=["toys"], allow_failed_imports=False),
        model=dict(type="ToyModel"),
        train_dataloader=toys.train_dataloader(num=100),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
    )
    Config(config).dump(str(tmp_path / "toy.py"))
    done = run("train", "toy.py", "--work-dir", "run")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "epoch_1.pth").is_file()
    done = run("train", "toy.py", "--work-dir", "empty", "--resume")
    assert "mms train: warning: --resume: no checkpoint" in done.stderr
    done = run("plot", "run", "--cost", "pixels", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"][0]["epochs"] == 1
