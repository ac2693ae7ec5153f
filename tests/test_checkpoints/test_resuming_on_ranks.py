"""Two processes that look for a checkpoint on disks of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from datetime import timedelta
import torch.distributed as dist
from mmengine.config import Config
from mms_plugin import cli

rank, store, *found = sys.argv[1:]
dist.init_process_group(
    "gloo", init_method=f"file://{store}", rank=int(rank), world_size=2,
    timeout=timedelta(seconds=60),
)
config = Config(dict(resume=True, load_from=found[int(rank)] or None))
try:
    cli.check_ranks_resume_alike(config)
except cli.UserError as error:
    print(error)
cli.leave_process_group()
"""


@pytest.mark.distributed
@pytest.mark.parametrize(
    ("found", "said"),
    [
        (("a.pth", "a.pth"), ""),
        (("a.pth", ""), "rank 0 would resume from a.pth, rank 1 from no checkpoint; "),
    ],
)
def test_ranks_resume_alike_or_not_at_all(tmp_path, found, said):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(tmp_path / "store"), *found],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in processes:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        assert said in out if said else not out
