"""Statistics of batch norm, estimated again."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mms_plugin.utils.batch_norm import estimate_batch_norm, has_batch_norm


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(8, 3, generator=generator) + 5 for _ in range(4)]


def test_plain_means_over_the_batches(batches):
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 2)).eval()
    norm = model[0]
    norm.num_batches_tracked += 17
    weights = [parameter.clone() for parameter in model.parameters()]
    assert estimate_batch_norm(model, iter(batches), model) == 1
    expected = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, expected, atol=1e-6)
    variance = torch.stack([batch.var(0) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_var, variance, atol=1e-5)
    assert norm.momentum == 0.1 and not model.training
    assert norm.num_batches_tracked == 17
    assert all(map(torch.equal, model.parameters(), weights))
    assert all(parameter.grad is None for parameter in model.parameters())


class Frozen(torch.nn.BatchNorm1d):
    """As with mmdet's ``norm_eval=True``."""

    def train(self, mode=True):
        return super().train(False)


def test_layers_that_follow_no_batch_keep_their_statistics(batches):
    model = torch.nn.ModuleList(
        [Frozen(3), torch.nn.BatchNorm1d(3), torch.nn.BatchNorm1d(3)]
    )
    untracked = torch.nn.BatchNorm1d(3, track_running_stats=False)
    model.append(untracked)
    for norm in model[:3]:
        norm.running_mean.fill_(7.0)

    def run(batch):
        return untracked(model[1](model[0](batch)))

    assert estimate_batch_norm(model, batches, run) == 1
    # The third layer is reached by no batch.
    assert [bool((norm.running_mean == 7).all()) for norm in model[:3]] == [
        True,
        False,
        True,
    ]
    assert has_batch_norm(model) and not has_batch_norm(torch.nn.Linear(3, 3))
    assert not has_batch_norm(untracked)
    assert estimate_batch_norm(torch.nn.Linear(3, 3), batches, lambda batch: None) == 0


def test_a_failed_run_changes_nothing(batches):
    model = torch.nn.BatchNorm1d(3).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def run(batch):
        model(batch)
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        estimate_batch_norm(model, batches, run)
    assert all(torch.equal(value, before[n]) for n, value in model.state_dict().items())
    assert model.momentum == 0.1 and not model.training


ONE_RANK_FAILS = """
import sys
from datetime import timedelta
import torch
import torch.distributed as dist
from mms_plugin.utils.batch_norm import estimate_batch_norm

rank, store = sys.argv[1:]
dist.init_process_group(
    "gloo", init_method=f"file://{store}", rank=int(rank), world_size=2,
    timeout=timedelta(seconds=60),
)
model = torch.nn.BatchNorm1d(3)
size = 1 if rank == "0" else 4
try:
    estimate_batch_norm(model, [torch.ones(size, 3)], model)
except Exception as error:
    print(f"{type(error).__name__}: {str(error).partition(' per ')[0]}")
print(model.running_mean.tolist())
dist.destroy_process_group()
"""


@pytest.mark.distributed
def test_no_rank_waits_for_one_that_has_failed(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_RANK_FAILS, str(rank), str(tmp_path / "store")],
            cwd=Path(__file__).resolve().parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0].splitlines() for process in processes]
    assert said == [
        ["ValueError: Expected more than 1 value", "[0.0, 0.0, 0.0]"],
        ["RuntimeError: it failed on another rank", "[0.0, 0.0, 0.0]"],
    ]
