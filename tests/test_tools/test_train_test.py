"""tools/train.py and tools/test.py as commands, on a real small model."""

import json
import math
import os
import pickle
import re

import pytest
import torch

pytestmark = pytest.mark.timeout(300)


def logged(work_dir):
    """The scalars that a run's LocalVisBackend would have, from its log file."""
    newest = max(work_dir.glob("*/*.log"), key=os.path.getmtime)
    return newest.read_text()


def test_train_writes_what_the_libraries_write(trained):
    assert (trained / "epoch_2.pth").is_file()
    assert (trained / "tiny_resnet.py").is_file()
    checkpoint = torch.load(trained / "epoch_2.pth")
    assert checkpoint["meta"]["epoch"] == 2
    assert checkpoint["meta"]["iter"] == 6  # 12 pictures, 4 a batch, 2 epochs
    assert checkpoint["meta"]["dataset_meta"]["classes"] == ("bright", "dark")


def test_resume_alone_goes_on_from_the_latest(trained, config_file, run_tool, tmp_path):
    work_dir = tmp_path / "copy"
    import shutil

    shutil.copytree(trained, work_dir)
    (work_dir / "last_checkpoint").write_text(str(work_dir / "epoch_2.pth"))
    done = run_tool(
        "train.py", config_file, "--work-dir", work_dir, "--resume",
        "--cfg-options", "train_cfg.max_epochs=3",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert torch.load(work_dir / "epoch_3.pth")["meta"]["iter"] == 9
    text = logged(work_dir)
    assert "Epoch(train) [3][1/3]" in text and "Epoch(train) [2]" not in text


def test_resume_from_a_named_checkpoint(trained, config_file, run_tool, tmp_path):
    done = run_tool(
        "train.py", config_file, "--work-dir", tmp_path,
        "--resume", trained / "epoch_1.pth",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Epoch(train) [1]" not in logged(tmp_path)
    assert torch.load(tmp_path / "epoch_2.pth")["meta"]["iter"] == 6


@pytest.mark.skipif(torch.cuda.is_available(), reason="bfloat16 is the CPU's way")
def test_amp_on_the_cpu(config_file, run_tool, tmp_path):
    done = run_tool(
        "train.py", config_file, "--work-dir", tmp_path, "--amp",
        "--cfg-options", "train_cfg.max_epochs=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "type='BFloat16OptimWrapper'" in (tmp_path / "tiny_resnet.py").read_text()
    losses = [float(x) for x in re.findall(r"loss: (\S+)", logged(tmp_path))]
    assert len(losses) >= 3 and all(math.isfinite(loss) for loss in losses)


@pytest.mark.skipif(torch.cuda.is_available(), reason="bfloat16 is the CPU's way")
def test_recipe_agvm_with_amp(config_file, run_tool, tmp_path):
    done = run_tool(
        "train.py", config_file, "--work-dir", tmp_path, "--recipe", "agvm", "--amp",
        "--cfg-options", "train_cfg.max_epochs=1",
        "optim_wrapper.agvm.start_iter=1", "optim_wrapper.agvm.interval=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    line = "--recipe agvm: optim_wrapper.type: OptimWrapper -> AGVMOptimWrapper"
    assert line in done.stderr.splitlines()
    written = (tmp_path / "tiny_resnet.py").read_text()
    assert "type='BFloat16AGVMOptimWrapper'" in written
    saved = torch.load(tmp_path / "epoch_1.pth")["optimizer"]["agvm"]
    assert saved["num_measured"] >= 1 and "head" in saved["multipliers"]


@pytest.mark.parametrize("recipe", ["vbs2", "agvm+", "agvm+nothing", ""])
def test_unknown_recipe(config_file, run_tool, tmp_path, recipe):
    done = run_tool("train.py", config_file, "--work-dir", tmp_path, "--recipe", recipe)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "is not one of vbs, vbs-cur, agvm" in done.stderr


def test_json_alone_on_standard_output(trained, config_file, run_tool, tmp_path):
    done = run_tool(
        "test.py", config_file, trained / "epoch_2.pth",
        "--work-dir", tmp_path / "w", "--json", "--out", tmp_path / "metrics.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads(done.stdout)
    assert 0 <= metrics["accuracy/top1"] <= 100
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    # The last validation of the training saw the same model and data.
    newest = max(trained.glob("*/*.log"), key=os.path.getmtime).read_text()
    last = re.findall(r"Epoch\(val\) \[2\].*accuracy/top1: (\S+)", newest)[-1]
    assert metrics["accuracy/top1"] == pytest.approx(float(last), abs=1e-3)


def test_predictions_are_dumped(trained, config_file, run_tool, tmp_path):
    done = run_tool(
        "test.py", config_file, trained / "epoch_2.pth",
        "--work-dir", tmp_path / "w", "--out", tmp_path / "p.pkl",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    with open(tmp_path / "p.pkl", "rb") as stream:
        predictions = pickle.load(stream)
    assert len(predictions) == 12
    assert predictions[0]["pred_score"].sum() == pytest.approx(1, abs=1e-4)


def test_a_wrong_component_is_one_line(config_file, run_tool, tmp_path):
    """What is built only inside runner.train() is bad input as well."""
    done = run_tool(
        "train.py", config_file, "--work-dir", tmp_path,
        "--cfg-options", "train_dataloader.sampler.type=NoSuchSampler",
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.count("Traceback") == 0
    assert "NoSuchSampler" in done.stderr.strip().splitlines()[-1]


@pytest.mark.distributed
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes, no two GPUs")
def test_two_processes_train_and_test(config_file, run_tool, free_port, tmp_path):
    done = run_tool(
        "dist_train.sh", config_file, 2, "--work-dir", tmp_path,
        "--cfg-options", "train_cfg.max_epochs=1",
        env={"PORT": free_port()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    # 12 pictures over two ranks, 4 a batch: two iterations.
    assert torch.load(tmp_path / "epoch_1.pth")["meta"]["iter"] == 2
    text = logged(tmp_path)
    assert "Distributed training: True" in text and "GPU number: 2" in text
    done = run_tool(
        "dist_test.sh", config_file, tmp_path / "epoch_1.pth", 2, "--json",
        "--work-dir", tmp_path / "test",
        env={"PORT": free_port()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    two = json.loads(done.stdout)
    done = run_tool(
        "test.py", config_file, tmp_path / "epoch_1.pth", "--json",
        "--work-dir", tmp_path / "one",
    )  # fmt: skip
    assert json.loads(done.stdout) == pytest.approx(two)


@pytest.mark.parametrize("name", ["dist_train.sh", "dist_test.sh"])
def test_dist_scripts_explain_themselves(run_tool, name):
    assert run_tool(name, "--help").returncode == 0
    done = run_tool(name)
    assert done.returncode == 2 and f"tools/{name} CONFIG" in done.stderr
    wrong = ["c.py", "many"] if name == "dist_train.sh" else ["c.py", "x.pth", "0"]
    done = run_tool(name, *wrong)
    assert done.returncode == 2 and "GPUS is a number of at least 1" in done.stderr


@pytest.mark.parametrize(
    "name, tool, third",
    [("slurm_train.sh", "train.py", "--work-dir=w"), ("slurm_test.sh", "test.py", "w")],
)
def test_slurm_script_asks_for_what_it_is_told(run_tool, tmp_path, name, tool, third):
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GPUS": "4", "PYTHON": "py"}
    arguments = ["part", "job", "c.py", "w", "--cfg-options", "a=[1, 2]"]
    done = run_tool(name, *arguments, env=env)
    lines = done.stdout.splitlines()
    assert lines[:6] == [
        "-p", "part", "--job-name=job", "--gres=gpu:4", "--ntasks=4",
        "--ntasks-per-node=4",
    ]  # fmt: skip
    assert lines[-6:] == [
        lines[-6], "c.py", third, "--launcher=slurm", "--cfg-options",
        "a=[1, 2]",
    ]  # fmt: skip
    assert lines[-6].endswith(f"tools/{tool}")
    assert run_tool(name, "--help").returncode == 0
    done = run_tool(name, "part")
    assert done.returncode == 2 and "PARTITION JOB_NAME" in done.stderr
