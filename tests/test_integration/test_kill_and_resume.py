"""Real trainings are killed with kill -9 and resumed: nothing on the disk is broken,
and the weights at the end are those of a run that nobody has killed."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = ROOT / "tools" / "benchmarks" / "kill_and_resume.py"

pytestmark = [pytest.mark.distributed, pytest.mark.timeout(600)]


def load_tool():
    spec = importlib.util.spec_from_file_location("kill_and_resume", COMMAND)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def kill_and_resume(*args):
    done = subprocess.run(
        [sys.executable, str(COMMAND), "--kills", "1", "--json", *args],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=580,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return json.loads(done.stdout)


def test_two_ranks():
    """A rank is killed; rank 0 is, while it saves; its disk is full."""
    modes = ["one", "save", "disk"]
    report = kill_and_resume(
        "--ranks", "2", "--runs", "3", "--by-iteration", "5", "--modes", *modes
    )
    assert [run["mode"] for run in report["runs"]] == modes
    for run in report["runs"]:
        # A kill while saving may come late, after the training.
        assert run["kills"] == 1 or run["mode"] == "save"
        assert run["broken"] == [] and run["parts_left"] == 0
        # What survives ends, with a message; what is left goes on to the same end.
        assert run["told"] and run["done"] and run["equal"]
        assert 0 <= run["lost"] <= 5


def test_a_rank_that_dies_under_torchrun(tmp_path):
    """tools/dist_train.sh ends, with what happened."""
    tool = load_tool()
    args = tool.parse_args(["--torchrun", "--ranks", "2", "--by-iteration", "3"])
    training = tool.Training(str(tmp_path / "killed"), args)
    kill = dict(ranks=[1], iteration=4)
    (code,) = training.wait(training.start(kill, resume=True))
    _, iteration = Path(training.note).read_text().split()
    assert code != 0 and int(iteration) == 4
    text = Path(training.log(0)).read_text()
    assert "Signal 9 (SIGKILL)" in text and "local_rank: 1" in text
    assert training.files() == dict(whole=["iter_3.pth"], broken=[], saved=3, parts=0)


@pytest.mark.parametrize(
    "args", [["--runs", "0"], ["--ranks", "x"], ["--modes", "fire"], ["--epochs", "1"]]
)
def test_bad_input(args, capsys):
    with pytest.raises(SystemExit) as caught:
        load_tool().parse_args(args)
    text = capsys.readouterr().err
    assert caught.value.code == 2 and args[0] in text
    assert len(text.strip().splitlines()) == 1
