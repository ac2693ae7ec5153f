"""Real processes: the hook changes nothing, and no rank waits for one that is full."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    here = Path(__file__).parent
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    paths = [str(here.parents[1]), str(here.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", str(here / "dry_run_on_ranks.py"), str(out)]
    done = subprocess.run(
        command, env=environment, timeout=200, capture_output=True, text=True
    )
    ranks = [json.loads((out / f"rank{r}.json").read_text()) for r in range(2)]
    return done, ranks


@pytest.mark.distributed
@pytest.mark.parametrize(
    "kind", ["plain", "accumulated", "unused", "agvm", "collective"]
)
def test_the_training_is_the_same_to_the_bit(two_ranks, kind):
    assert [rank[kind] for rank in two_ranks[1]] == [True, True]


@pytest.mark.distributed
def test_a_static_graph_is_refused(two_ranks):
    assert [rank["static"] for rank in two_ranks[1]] == [True, True]


@pytest.mark.distributed
@pytest.mark.parametrize("name", ["told", "told_agvm"])
def test_all_ranks_stop_with_the_error_of_the_one_that_is_full(two_ranks, name):
    texts = [rank[name] for rank in two_ranks[1]]
    assert texts[0] == texts[1]
    assert "16 images of 4x4 does not fit into the memory of cpu, rank 1" in texts[0]
    # Neither has waited for the grace of an hour to end.


@pytest.mark.distributed
def test_a_rank_in_a_collective_is_ended(two_ranks):
    done, _ = two_ranks
    assert done.returncode != 0
    assert "does not fit into the memory of cpu, rank 1" in done.stderr
