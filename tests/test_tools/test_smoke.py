"""Every benchmark, the demo, and whatever else lies beside them runs: ``--smoke``."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A new script in these folders is run without being named here.
SCRIPTS = [
    path.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "misc", "demo")
    for path in sorted((ROOT / "tools" / folder).glob("*.py"))
    if "__main__" in path.read_text()
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("script", SCRIPTS)
def test_it_runs_and_leaves_nothing_behind(script, tmp_path):
    for library in ("mmdet", "mmpretrain", "matplotlib"):
        pytest.importorskip(library)
    here = tmp_path / "here"
    here.mkdir()
    # Short: sockets of data loader workers lie in it, whose paths have 108 characters.
    with tempfile.TemporaryDirectory(prefix="t") as temporary:
        done = subprocess.run(
            [sys.executable, str(ROOT / script), "--smoke"],
            capture_output=True,
            text=True,
            cwd=here,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
                "TMPDIR": temporary,
            },
        )
        left = os.listdir(temporary)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() or script == "tools/demo/run.py"
    assert list(here.iterdir()) == []
    assert not [name for name in left if name.startswith("smoke_")]
