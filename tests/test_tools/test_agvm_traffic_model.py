import importlib.util
import json
import re
from pathlib import Path

import pytest

from mms_plugin.cli import UserError
from tools.benchmarks.agvm_traffic_model import (
    Cluster,
    ring_all_reduce_seconds,
    ring_reduce_seconds,
    traffic,
    tree_all_reduce_seconds,
    tree_reduce_seconds,
)

ROOT = Path(__file__).resolve().parents[2]
# Round numbers: 1 GB/s within a node, 100 MB/s between nodes, 1 ms a hop, one bucket.
CLUSTER = Cluster(4, 1e9, 1e8, 1e-3, 1e12)


def test_times_by_hand():
    # Four ranks of one node: six hops; three quarters of the bytes twice.
    assert ring_all_reduce_seconds(1e9, 4, CLUSTER) == pytest.approx(0.006 + 1.5)
    assert ring_reduce_seconds(1e9, 4, CLUSTER) == pytest.approx(0.003 + 1.0)
    # Eight ranks on two nodes: the slow link counts.
    assert ring_reduce_seconds(1e8, 8, CLUSTER) == pytest.approx(0.007 + 1.0)
    assert tree_reduce_seconds(1e8, 8, CLUSTER) == pytest.approx(0.003 + 1.0)
    assert tree_all_reduce_seconds(1e8, 8, CLUSTER) == pytest.approx(0.006 + 2.0)
    assert ring_reduce_seconds(1e9, 1, CLUSTER) == 0.0
    # In four buckets the hops count four times.
    buckets = CLUSTER._replace(bucket_bytes=0.25e9)
    assert ring_reduce_seconds(1e9, 4, buckets) == pytest.approx(0.012 + 1.0)


def test_bytes_by_counting():
    for world_size in range(2, 40):
        row = traffic(world_size, 1000, 3, 5, 1.0, CLUSTER)
        half = range(world_size // 2)
        # Each rank of the first half but its root sends the gradients; all but rank 0
        # take in three numbers of eight bytes per module.
        sent = sum(1000 for rank in half if rank > 0) + (world_size - 1) * 72
        assert row["mean_bytes"] == pytest.approx(sent / world_size / 5)
        assert row["measured_bytes"] == (1000 if world_size >= 4 else 0)
        assert row["ddp_bytes"] == pytest.approx(2000 - 2000 / world_size)


def test_one_rank_sends_nothing():
    row = traffic(1, 1000, 3, 5, 1.0, CLUSTER)
    assert row["mean_bytes"] == row["ddp_bytes"] == row["ring_seconds"] == 0


def test_a_quarter_of_a_reduction_over_the_interval():
    # Half of the ranks, and a reduction is half of an all-reduce.
    ratio = traffic(4096, 10**8, 4, 10, 1.0, CLUSTER)["bytes_ratio"]
    assert ratio == pytest.approx(1 / 4 / 10, rel=0.01)


@pytest.fixture(scope="module")
def tool():
    path = ROOT / "tools" / "benchmarks" / "agvm_traffic.py"
    spec = importlib.util.spec_from_file_location("agvm_traffic_tool", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command(tool, capfd):
    tool.main(["--gpus", "8", "128", "--json"])
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert [row["gpus"] for row in rows] == [8, 128]
    expected = traffic(128, 166_110_848, 4, 10, 0.27, Cluster())
    assert rows[1] == pytest.approx({"gpus": 128, **expected})
    tool.main(["--gpus", "128"])
    assert "| 128 | 166.1 | 8.18 |" in re.sub(" +", " ", capfd.readouterr().out)


@pytest.mark.parametrize("argument", ["--inter", "--gpus", "--iteration-ms"])
def test_bad_input_of_the_command(tool, argument):
    with pytest.raises(UserError, match=f"{argument} must be above 0"):
        tool.main([argument, "0"])
