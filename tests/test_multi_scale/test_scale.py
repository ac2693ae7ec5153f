"""Thousands of ranks and a billion samples, simulated."""

import importlib.util
import itertools
import json
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from counting import count_calls
from mmengine.dataset import InfiniteSampler

from mms_plugin.cli import UserError
from mms_plugin.multi_scale import (
    KeyedPermutationSampler,
    MultiScaleVariableBatchSampler,
    ResolutionCurriculum,
    SizeDistribution,
    plan_stream,
)
from mms_plugin.multi_scale.plan import STREAM_BLOCK

ROOT = Path(__file__).resolve().parents[2]


class Length:
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length


def make(num, rank, world_size, curriculum=None, counted=None, round_up=True, **kwargs):
    inner = KeyedPermutationSampler(
        Length(num), seed=0, round_up=round_up, rank=rank, world_size=world_size
    )
    kwargs = {"batch_size": 32, "base_size": 224, **kwargs}
    sampler = MultiScaleVariableBatchSampler(
        inner, sizes=dict(min=128, max=320, num=7), **kwargs
    )
    if curriculum is not None:
        sampler.set_curriculum(ResolutionCurriculum(**curriculum), **counted)
    return sampler


@pytest.mark.parametrize(
    "curriculum, counted",
    [
        (None, None),
        (dict(by_epoch=True), dict(max_epochs=100)),
        (dict(by_epoch=False), dict(max_epochs=100)),
        (dict(by_epoch=False), dict(max_iters=450_000)),
    ],
)
def test_a_billion_samples_on_rank_17_of_4096(curriculum, counted):
    def plan_all(num=10**9, rank=17, world_size=4096):
        sampler = make(num, rank, world_size, curriculum, counted)
        total = sampler.total_batches(100)
        plan = sampler.plan(99)
        assert len(plan) == total - sampler.total_batches(99)
        # 244,141 images a rank, the last batch cut.
        assert sum(images for _, _, images in plan) == 244_141
        sampler.set_epoch(99)
        assert len(sampler) == len(plan)
        batches = list(itertools.islice(sampler, 20))
        assert [(*b[0].size, len(b)) for b in batches] == plan[:20]
        given = [int(i) for batch in batches for i in batch]
        assert len(set(given)) == len(given) and max(given) < num
        assert sampler.batch_at_iteration(total - 1) == plan[-1]

    # As much work as for a data set of one rank's share, of which a list would be
    # nothing; and arrays of a billion would not fit into the memory below.
    share = count_calls(lambda: plan_all(244_141, 0, 1))
    assert count_calls(plan_all) < 1.5 * share
    tracemalloc.start()
    try:
        plan_all()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 * 2**20


@pytest.mark.parametrize(
    "world_size, num, round_up",
    [(4096, 200_003, False), (7, 70_001, False), (64, 70_001, True)],
)
def test_each_sample_once_over_all_ranks(world_size, num, round_up):
    counts = np.zeros(num, dtype=int)
    sizes = set()
    for rank in range(world_size):
        sampler = make(num, rank, world_size, round_up=round_up, batch_size=8)
        sampler.set_epoch(1)
        shapes = []
        for batch in sampler:
            np.add.at(counts, np.array(batch, dtype=int), 1)
            shapes.append(batch[0].size)
        sizes.add(tuple(shapes))
    assert len(sizes) == 1
    extra = -num % world_size if round_up else 0
    assert counts.min() == 1 and counts.sum() == num + extra


def test_the_peak_does_not_grow_with_the_data_set():
    peaks = []
    for num in (10**6, 10**9):
        tracemalloc.start()
        try:
            # As many images a rank: as many iterations.
            sampler = make(num, 0, num // 1000)
            next(iter(sampler))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


# Streams without an end


def plan_one_by_one(start, stop, distribution_at, seed):
    """A second implementation: one draw at a time."""
    planned = []
    for iteration in range(start, stop):
        block, offset = divmod(iteration, STREAM_BLOCK)
        draw = np.random.default_rng([1, seed, block]).random(STREAM_BLOCK)[offset]
        sizes, batch_sizes, weights = distribution_at(iteration)
        below = np.cumsum(weights) <= draw * sum(weights)
        planned.append((*sizes[below.sum()], batch_sizes[below.sum()]))
    return planned


EARLY = SizeDistribution(((8, 8), (16, 8), (4, 4)), (9, 5, 30), (1.0, 0.5, 2.0))
LATE = SizeDistribution(((16, 8), (32, 32)), (5, 2), (3.0, 1.0))


@pytest.mark.parametrize("start, stop", [(0, 700), (100, 101), (250, 530), (9, 9)])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_stream_is_drawn_as_one_by_one(start, stop, seed):
    def distribution_at(iteration):
        # There and back, within blocks and across them.
        return LATE if 120 <= iteration < 300 or iteration % 97 == 0 else EARLY

    plan = plan_stream(start, stop, distribution_at, seed)
    expected = plan_one_by_one(start, stop, distribution_at, seed)
    assert plan.to_list() == expected
    assert plan.sizes == tuple(dict.fromkeys((h, w) for h, w, _ in expected))


@pytest.mark.parametrize("schedule", [None, "linear", "cosine", "step", np.sqrt])
def test_ninety_thousand_iterations_of_a_stream(schedule):
    inner = InfiniteSampler(range(1000), seed=0)
    sampler = MultiScaleVariableBatchSampler(
        inner, 32, 224, dict(min=128, max=320, num=7)
    )
    if schedule is not None:
        curriculum = ResolutionCurriculum(schedule, by_epoch=False)
        sampler.set_curriculum(curriculum, max_iters=90_000)
    plan = sampler.plan_iterations(0, 90_000)
    singly = [sampler.plan_iterations(i, i + 1)[0] for i in range(900)]
    assert plan[:900] == singly
    # In one go: by less than a fifth of the calls of one by one.
    at_once = count_calls(lambda: sampler.plan_iterations(0, 90_000))
    one_by_one = 100 * count_calls(
        lambda: [sampler.plan_iterations(i, i + 1) for i in range(900)]
    )
    assert at_once < one_by_one / 5
    for first in (0, 33_333, 89_990):
        stretch = sampler.plan_iterations(first, first + 10)
        assert plan[first : first + 10] == stretch
        assert {(h, w) for h, w, _ in stretch} <= set(sampler.sizes)


def test_the_command(capfd):
    path = ROOT / "tools" / "benchmarks" / "sampler_scale.py"
    spec = importlib.util.spec_from_file_location("sampler_scale_tool", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arguments = ["--num-samples", "1e4", "--ranks", "4", "--epochs", "3"]
    tool.main([*arguments, "--json"])
    rows = json.loads(capfd.readouterr().out)["rows"]
    assert [row["curriculum"] for row in rows] == list(tool.CURRICULA)
    assert rows[0]["iterations"] == len(make(10**4, 3, 4))
    assert all(row["peak_mib"] > 0 for row in rows)
    tool.main(arguments)
    table = re.sub(" +", " ", capfd.readouterr().out)
    assert table.count("| 10,000 | 4 |") == 3
    with pytest.raises(UserError, match="--ranks"):
        tool.main(["--ranks", "0"])
