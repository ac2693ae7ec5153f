"""Real processes on one machine: all ranks draw the same sizes and end together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CURRICULUM = dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])


@pytest.mark.distributed
@pytest.mark.parametrize(
    "ranks, options",
    [
        (2, dict(num=101, hooks=[])),
        (2, dict(num=101, hooks=[dict(CURRICULUM, by_epoch=False)], num_workers=2)),
        (
            4,
            dict(
                num=101,
                hooks=[CURRICULUM],
                sampler=dict(type="DefaultSampler", shuffle=True, round_up=False),
            ),
        ),
    ],
)
def test_ranks_stay_in_step(tmp_path, ranks, options):
    here = Path(__file__).parent
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    paths = [str(here.parents[1]), str(here.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={ranks}", str(here / "train_on_ranks.py")]
    subprocess.run(
        [*command, str(tmp_path), json.dumps(options)],
        check=True,
        env=environment,
        timeout=240,
        stdout=subprocess.DEVNULL,
    )
    seen = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in range(ranks)]
    for rank in seen:
        planned = [b for epoch in rank["plan"] for b in epoch]
        assert [[h, w, n] for n, _, h, w in rank["shapes"]] == planned
        assert rank["iter"] == rank["max_iters"] == len(planned)
        assert rank["weight"] == seen[0]["weight"] != 0
        assert rank["lr"] == seen[0]["lr"]
        sizes = [shape[2:] for shape in rank["shapes"]]
        assert sizes == [shape[2:] for shape in seen[0]["shapes"]]
    start = 0
    for epoch in seen[0]["plan"]:
        stop = start + len(epoch)
        given = [
            i for rank in seen for batch in rank["samples"][start:stop] for i in batch
        ]
        assert set(given) == set(range(101))
        assert len(given) - 101 == (0 if "sampler" in options else -101 % ranks)
        start = stop
