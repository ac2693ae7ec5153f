"""Real processes on one machine: all ranks draw the same sizes and end together."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CURRICULUM = dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])


def train_on(folder, ranks, options):
    """Train with so many processes; what each has seen."""
    here = Path(__file__).parent
    environment = dict(os.environ, OMP_NUM_THREADS="1")
    paths = [str(here.parents[1]), str(here.parent), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={ranks}", str(here / "train_on_ranks.py")]
    subprocess.run(
        [*command, str(folder), json.dumps(options)],
        check=True,
        env=environment,
        timeout=240,
        stdout=subprocess.DEVNULL,
    )
    return [json.loads((folder / f"rank{r}.json").read_text()) for r in range(ranks)]


def descend(seen, weight=0.0):
    """The weight of ``RankModel`` after gradient descent on what the ranks saw."""
    for number, lr in enumerate(seen[0]["lrs"]):
        gradients = []
        for rank in seen:
            factors = 1 + torch.tensor(rank["samples"][number]).double() / 100
            target = rank["shapes"][number][-1] / 10
            gradients.append((2 * factors * (weight * factors - target)).mean().item())
        weight -= lr * sum(gradients) / len(gradients)
    return weight


@pytest.mark.distributed
@pytest.mark.parametrize(
    "ranks, options",
    [
        # Without a seed rank 0 draws one for all.
        (2, dict(num=101, hooks=[], seed=None)),
        (2, dict(num=101, hooks=[dict(CURRICULUM, by_epoch=False)], num_workers=2)),
        (
            4,
            # The last batches differ, and the rates must not.
            dict(
                num=101,
                hooks=[dict(CURRICULUM, lr_scaling="linear")],
                sampler=dict(type="DefaultSampler", shuffle=True, round_up=False),
            ),
        ),
    ],
)
def test_ranks_stay_in_step(tmp_path, ranks, options):
    seen = train_on(tmp_path, ranks, options)
    for rank in seen:
        planned = [b for epoch in rank["plan"] for b in epoch]
        assert [[h, w, n] for n, _, h, w in rank["shapes"]] == planned
        assert rank["iter"] == rank["max_iters"] == len(planned)
        assert rank["weight"] == seen[0]["weight"]
        assert rank["weight"] == pytest.approx(descend(seen), rel=1e-4)
        assert rank["lrs"] == seen[0]["lrs"]
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


def in_turn(seen, start=0, stop=None):
    """The samples of all ranks in the stretch of iterations."""
    return [i for rank in seen for batch in rank["samples"][start:stop] for i in batch]


@pytest.mark.distributed
def test_resumed_within_an_epoch_with_as_many_ranks_and_with_more(tmp_path):
    model = dict(type="RankModel", noise=True)
    options = dict(num=101, hooks=[CURRICULUM], model=model)
    options["checkpoint"] = dict(type="CheckpointHook", by_epoch=False, interval=3)
    whole = train_on(tmp_path, 2, options)
    cut, other = tmp_path / "cut", tmp_path / "other"
    before = train_on(cut, 2, dict(options, stop=5))
    shutil.copytree(cut, other)
    after = train_on(cut, 2, dict(options, resume=True))
    for one, two in zip(after, whole):
        assert one["samples"] == two["samples"][3:]
        assert one["shapes"] == two["shapes"][3:]
        assert one["iter"] == two["iter"] == one["max_iters"]
        assert one["weight"] == two["weight"]
        assert one["lr"] == two["lr"]
    (other / "last_checkpoint").write_text(str(other / "iter_3.pth"))
    more = train_on(other, 3, dict(options, resume=True))
    length = len(more[0]["plan"][0])
    first = in_turn(before, 0, 3) + in_turn(more, 0, length)
    assert set(first) == set(range(101)) and len(first) - 101 <= 2
    for rank in more:
        assert rank["iter"] == rank["max_iters"]
        assert rank["weight"] == more[0]["weight"] != 0
        sizes = [shape[2:] for shape in rank["shapes"]]
        assert sizes == [shape[2:] for shape in more[0]["shapes"]]
        start = length
        for epoch in rank["plan"][1:]:
            stop = start + len(epoch)
            assert set(in_turn(more, start, stop)) == set(range(101))
            start = stop
        assert start == len(rank["samples"])


@pytest.mark.distributed
def test_ranks_with_seeds_of_their_own_resume_exactly(tmp_path):
    model = dict(type="RankModel", noise=True)
    options = dict(num=101, hooks=[CURRICULUM], model=model, diff_rank_seed=True)
    options["checkpoint"] = dict(type="CheckpointHook", by_epoch=False, interval=3)
    whole = train_on(tmp_path, 2, options)
    cut = tmp_path / "cut"
    train_on(cut, 2, dict(options, stop=5))
    after = train_on(cut, 2, dict(options, resume=True))
    draws = [rank["draws"] for rank in whole]
    assert all(one != other for one, other in zip(*draws))
    assert whole[0]["shapes"] == whole[1]["shapes"]
    for one, two in zip(after, whole):
        assert one["samples"] == two["samples"][3:]
        assert one["draws"] == two["draws"][3:]
        assert one["weight"] == two["weight"]


@pytest.mark.distributed
def test_batch_norm_with_broadcast_buffers_resumes_exactly(tmp_path):
    options = dict(num=101, hooks=[CURRICULUM], model=dict(type="ToyNormModel"))
    options["wrapper"] = dict(broadcast_buffers=True)
    options["checkpoint"] = dict(type="CheckpointHook", by_epoch=False, interval=3)
    whole = train_on(tmp_path, 2, options)
    cut = tmp_path / "cut"
    train_on(cut, 2, dict(options, stop=5))
    after = train_on(cut, 2, dict(options, resume=True))
    for one, two in zip(after, whole):
        assert one["samples"] == two["samples"][3:]
        assert one["weight"] == two["weight"] != 0
        assert one["statistics"] == two["statistics"]


@pytest.mark.distributed
def test_statistics_of_batch_norm_are_those_of_all_ranks(tmp_path):
    hooks = [CURRICULUM, dict(type="BaseSizeBatchNormHook", num_batches=3)]
    model = dict(type="ToyNormModel")
    seen = train_on(tmp_path, 2, dict(num=101, hooks=hooks, model=model))
    batches = [batch for rank in seen for batch in rank["without_gradients"]]
    assert [shape for shape, _ in batches] == [[4, 3, 8, 8]] * 6
    # No image twice, on whichever rank.
    assert len({i for _, indices in batches for i in indices}) == 24
    # Images of ones times their index: the same value in all of their 64 pixels.
    values = [torch.tensor(i, dtype=torch.float64).repeat(64) for _, i in batches]
    mean = sum(each.mean().item() for each in values) / 6
    variance = sum(each.var().item() for each in values) / 6
    for rank in seen:
        assert rank["statistics"] == seen[0]["statistics"]
        assert rank["statistics"][0] == pytest.approx([mean] * 3)
        assert rank["statistics"][1] == pytest.approx([variance] * 3)
        assert rank["weight"] == seen[0]["weight"] != 0
