"""AGVM's benchmarks: that they run and count right, not how fast."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools" / "benchmarks"


def _run(name, *arguments):
    return subprocess.run(
        [sys.executable, str(TOOLS / name), *arguments],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )


def test_overhead_counts_bytes_and_times():
    pytest.importorskip("mmpretrain")
    small = ["--iterations", "4", "--interval", "2", "--batch-size", "2"]
    done = _run(
        "agvm_overhead.py", "--world-size", "1", "--size", "32", "--json", *small
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    # torchvision's ResNet-18 has 11,689,512 weights, 513,000 of them in its head of
    # 1,000 classes; this one has 100.
    assert result["gradient_bytes"] == 4 * (11_689_512 - 513_000 + 51_300)
    assert result["bytes_into_collectives_per_rank"]["ddp_every_iteration"] == 0
    for clock in ("wall", "cpu"):
        values = result[clock]
        ends = sorted((values["measured_ratio"], values["not_measured_ratio"]))
        assert 0 < ends[0] <= values["mean_ratio"] <= ends[1]


@pytest.mark.parametrize(
    "name, arguments, words",
    [
        ("agvm_overhead.py", ["--iterations", "0"], "--iterations must be at least 1"),
        ("agvm_nuclei.py", ["--data-root", "nowhere"], "nowhere.*is missing"),
        (
            "agvm_nuclei.py",
            ["--data-root", ".", "--arms", "sgd-9-plain"],
            "unknown arm 'sgd-9-plain'",
        ),
        (
            "agvm_nuclei.py",
            ["--data-root", ".", "--cost", "5"],
            "--cost must be at least --interval",
        ),
    ],
)
def test_bad_input(name, arguments, words):
    import re

    done = _run(name, *arguments)
    assert done.returncode == 2 and not done.stdout
    assert re.search(words, done.stderr)
