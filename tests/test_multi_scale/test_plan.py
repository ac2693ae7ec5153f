import random

import numpy as np
import pytest

from mms_plugin.multi_scale import (
    SizeDistribution,
    count_iterations,
    epoch_generator,
    plan_epoch,
    plan_stream,
)
from mms_plugin.multi_scale.plan import cut_batches


def random_distribution(rng):
    count = rng.randint(1, 8)
    return SizeDistribution(
        tuple((8 * (i + 1), 8 * (i + 1)) for i in range(count)),
        tuple(rng.randint(1, 60) for _ in range(count)),
        tuple(rng.choice([1.0, 1.0, rng.random() + 0.01]) for _ in range(count)),
    )


def full_batches(plan, distribution):
    table = dict(zip(distribution.sizes, distribution.batch_sizes))
    return [table[(h, w)] for h, w, _ in plan.to_list()]


@pytest.mark.parametrize("seed", range(300))
def test_every_plan_holds_what_it_promises(seed):
    rng = random.Random(seed)
    distribution = random_distribution(rng)
    samples = rng.choice([rng.randint(1, 30), rng.randint(1, 3000)])
    drop_last = rng.random() < 0.4
    plan = plan_epoch(
        samples, lambda part: distribution, epoch_generator(0, seed), drop_last
    )
    full = full_batches(plan, distribution)
    batch_sizes = plan.batch_sizes.tolist()
    assert len(plan) == count_iterations(samples, distribution, drop_last)
    assert batch_sizes[:-1] == full[:-1]
    if drop_last:
        assert batch_sizes == full
        assert 0 <= samples - sum(batch_sizes) < max(distribution.batch_sizes)
    else:
        assert sum(batch_sizes) == samples
        assert 1 <= batch_sizes[-1] <= full[-1]


def test_a_plan_by_hand():
    # Batches of 4 and 2 at equal weights: 3 images an iteration, 12 iterations for 36.
    distribution = SizeDistribution(((1, 1), (2, 2)), (4, 2), (1.0, 1.0))
    plan = plan_epoch(36, lambda part: distribution, epoch_generator(0, 0))
    assert sorted(plan.to_list()) == [(1, 1, 4)] * 6 + [(2, 2, 2)] * 6
    assert [plan.at(position) for position in range(12)] == plan.to_list()
    for position in (-1, 12):
        with pytest.raises(IndexError, match=f"from 0 to 11, but got {position}"):
            plan.at(position)


@pytest.mark.parametrize(
    "samples, drop_last, iterations",
    # Batches of 9 and 1: 5 images an iteration on average.
    [(50, False, 10), (51, False, 11), (49, True, 9), (50, True, 10), (4, True, 0)],
)
def test_count_iterations_by_hand(samples, drop_last, iterations):
    distribution = SizeDistribution(((1, 1), (2, 2)), (9, 1), (0.1, 0.1))
    assert count_iterations(samples, distribution, drop_last) == iterations


def test_shares_follow_the_weights():
    distribution = SizeDistribution(
        ((1, 1), (2, 2), (3, 3)), (30, 20, 10), (1.0, 2.0, 5.0)
    )
    plan = plan_epoch(100_000, lambda part: distribution, epoch_generator(0, 0))
    sides = np.array([h for h, _, _ in plan.to_list()])
    for side, share in ((1, 1 / 8), (2, 2 / 8), (3, 5 / 8)):
        assert abs((sides == side).mean() - share) < 0.001


def test_order_is_random_and_epochs_differ():
    distribution = SizeDistribution(((1, 1), (2, 2)), (2, 2), (1.0, 1.0))
    plans = [
        plan_epoch(4000, lambda part: distribution, epoch_generator(0, e)).choices
        for e in range(2)
    ]
    assert (plans[0] != plans[1]).any()
    # Neighbours agree about half of the time: 1,999 pairs, 5 standard deviations.
    same = (plans[0][1:] == plans[0][:-1]).sum()
    assert abs(same - 999.5) < 5 * np.sqrt(1999) / 2


def test_each_position_gets_each_size_equally_often():
    distribution = SizeDistribution(
        tuple((i, i) for i in range(1, 5)), (4, 3, 2, 1), (1.0,) * 4
    )
    counts = np.zeros((10, 4))
    for epoch in range(2000):
        plan = plan_epoch(
            25, lambda part: distribution, epoch_generator(1, epoch), drop_last=True
        )
        for position, (side, _, _) in enumerate(plan.to_list()):
            counts[position, side - 1] += 1
    # 500 expected, standard deviation 19.
    assert np.abs(counts - 500).max() < 110


def test_small_epochs_still_draw_every_size():
    distribution = SizeDistribution(
        tuple((i, i) for i in range(1, 8)), (9, 8, 7, 6, 5, 4, 3), (1.0,) * 7
    )
    drawn = set()
    for epoch in range(50):
        plan = plan_epoch(12, lambda part: distribution, epoch_generator(0, epoch))
        assert len(plan) == 2
        drawn |= {h for h, _, _ in plan.to_list()}
    assert drawn == set(range(1, 8))


def test_sizes_may_change_within_the_epoch():
    small = SizeDistribution(((1, 1),), (10,), (1.0,))
    large = SizeDistribution(((2, 2),), (4,), (1.0,))
    plan = plan_epoch(
        100,
        lambda part: small if part < 0.45 else large,
        epoch_generator(0, 0),
        lookups=100,
    )
    # 45 samples in batches of 10 run to 50; 50 are left for batches of 4.
    assert plan.to_list() == [(1, 1, 10)] * 5 + [(2, 2, 4)] * 12 + [(2, 2, 2)]


@pytest.mark.parametrize("drop_last", [False, True])
def test_the_first_sizes_may_run_over_the_whole_epoch(drop_last):
    small = SizeDistribution(((1, 1),), (10,), (1.0,))
    large = SizeDistribution(((2, 2),), (4,), (1.0,))
    plan = plan_epoch(
        18,
        lambda part: small if part < 0.9 else large,
        epoch_generator(0, 0),
        drop_last=drop_last,
        lookups=10,
    )
    expected = [(1, 1, 10)] + ([] if drop_last else [(1, 1, 8)])
    assert plan.to_list() == expected


def test_cut_leaves_an_image_in_each():
    assert cut_batches(np.array([4, 4, 4]), 5).tolist() == [4, 2, 1]
    with pytest.raises(ValueError, match="cannot hold 2 images"):
        cut_batches(np.array([1, 1, 1]), 1)


def test_stream_can_be_entered_anywhere():
    distribution = SizeDistribution(
        ((1, 1), (2, 2), (3, 3)), (3, 2, 1), (1.0, 1.0, 2.0)
    )
    whole = plan_stream(0, 1000, lambda i: distribution, 7).to_list()
    for start, stop in ((0, 10), (255, 257), (300, 900), (512, 513)):
        part = plan_stream(start, stop, lambda i: distribution, 7).to_list()
        assert part == whole[start:stop]
    sides = np.array([h for h, _, _ in whole])
    # Half of the draws; the standard deviation is 16.
    assert abs((sides == 3).sum() - 500) < 80


def test_stream_follows_its_distribution():
    small = SizeDistribution(((1, 1),), (3,), (1.0,))
    large = SizeDistribution(((2, 2),), (1,), (1.0,))
    plan = plan_stream(0, 600, lambda i: small if i < 300 else large, 0).to_list()
    assert plan == [(1, 1, 3)] * 300 + [(2, 2, 1)] * 300
