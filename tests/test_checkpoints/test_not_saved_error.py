"""All ranks learn that rank 0 has failed to save."""

import subprocess
import sys
from pathlib import Path

import pytest

from mms_plugin.checkpoints.not_saved_error import raise_on_all_ranks

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from datetime import timedelta
import torch.distributed as dist
from mms_plugin.checkpoints.not_saved_error import raise_on_all_ranks

rank, store = sys.argv[1:]
dist.init_process_group(
    "gloo", init_method=f"file://{store}", rank=int(rank), world_size=2,
    timeout=timedelta(seconds=60),
)
raise_on_all_ranks(None)
print("saved")
try:
    raise_on_all_ranks(OSError("disk is full") if rank == "0" else None)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
dist.destroy_process_group()
"""


def test_one_process():
    raise_on_all_ranks(None)
    failure = OSError("disk is full")
    with pytest.raises(OSError) as caught:
        raise_on_all_ranks(failure)
    assert caught.value is failure


@pytest.mark.distributed
def test_two_ranks(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(tmp_path / "store")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert said == [
        ["saved", "OSError: disk is full"],
        [
            "saved",
            "CheckpointNotSavedError: rank 0 could not save: OSError: disk is full",
        ],
    ]
