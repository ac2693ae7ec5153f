"""Is it a permutation, and does it look like a random one?

Each statistic is taken of three kinds of permutations: the keyed one, NumPy's, which
must pass too, and a bad one, which must not. All seeds are fixed.
"""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from mms_plugin.multi_scale import KeyedPermutation

# On both sides of MAX_TABLE; the network is tested on short ranges too.
LENGTHS = [(1009, 0), (1024, 0), (70_001, 2**16), (2**17, 2**16)]

# Standard deviations: one in 16,000 by chance; the bad ones are beyond the second.
GOOD, BAD = 4.0, 10.0


def keyed(length, seed, epoch=0, max_table=0):
    return KeyedPermutation(length, [seed, epoch], max_table)(np.arange(length))


def numpys(length, seed, epoch=0, max_table=0):
    return np.random.default_rng([seed, epoch]).permutation(length)


def affine(length, seed, epoch=0, max_table=0):
    """``a * i + b``: every index anywhere, equally often, but in even steps."""
    rng = np.random.default_rng([seed, epoch])
    factor = next(f for f in rng.integers(length, size=100) if math.gcd(f, length) == 1)
    return (np.arange(length) * factor + rng.integers(length)) % length


def rotated(length, seed, epoch=0, max_table=0):
    """One random order that each epoch starts elsewhere."""
    offset = np.random.default_rng([seed, epoch]).integers(length)
    return (np.random.default_rng(0).permutation(length) + offset) % length


def buffered(length, seed, epoch=0, max_table=0):
    """Shuffled in a buffer of a tenth: an index stays near its place."""
    rng = np.random.default_rng([seed, epoch])
    parts = np.array_split(np.arange(length), 10)
    return np.concatenate([rng.permutation(part) for part in parts])


def deviation(counts):
    """Standard deviations of a chi-square from what equal frequencies would give.

    By Wilson and Hilferty's cube root.
    """
    counts = np.asarray(counts, dtype=float).ravel()
    chi_square = ((counts - counts.mean()) ** 2).sum() / counts.mean()
    spread = 2 / (9 * (len(counts) - 1))
    return ((chi_square / (len(counts) - 1)) ** (1 / 3) - (1 - spread)) / math.sqrt(
        spread
    )


def binned(values, length, bins=16):
    return np.bincount(np.asarray(values) * bins // length, minlength=bins)


def positions(permute, length, max_table):
    """Where single indices land, over 400 seeds and over 400 epochs."""
    tracked = np.linspace(0, length - 1, 25).astype(int)
    if permute is keyed:
        landed = np.array(
            [
                KeyedPermutation(length, [seed, epoch], max_table)(tracked)
                for seed, epoch in itertools.chain(
                    ((s, 0) for s in range(400)), ((0, e) for e in range(1, 401))
                )
            ]
        )
    else:
        landed = np.array([permute(length, seed)[tracked] for seed in range(800)])
    return [binned(column, length) for column in landed.T]


def neighbours(permute, length, max_table, stride=1):
    """Differences of outputs that come ``stride`` after one another."""
    counts = 0
    for seed in range(max(1, 100_000 // length)):
        order = permute(length, seed, max_table=max_table)
        differences = (order[stride:] - order[:-stride]) % length
        # From 1 to length - 1, as none comes twice.
        counts = counts + binned(differences - 1, length - 1)
    return counts


def pairs(permute, length, max_table, other):
    """Where an index lies in one permutation and in another."""
    counts = 0
    for seed in range(max(1, 100_000 // length)):
        first = permute(length, seed, 0, max_table) * 8 // length
        second = permute(length, *other(seed), max_table) * 8 // length
        counts = counts + np.bincount(first * 8 + second, minlength=64)
    return counts


def shifts(permute, length, max_table, other):
    """How far an index moves from one permutation to another."""
    counts = 0
    for seed in range(max(1, 100_000 // length)):
        moved = permute(length, *other(seed), max_table) - permute(
            length, seed, 0, max_table
        )
        counts = counts + binned(moved % length, length)
    return counts


def next_epoch(seed):
    return seed, 1


def next_seed(seed):
    return seed + 1, 0


@pytest.mark.parametrize("length", [*range(40), 97, 1000, 65_536, 65_537, 100_003])
@pytest.mark.parametrize("max_table", [0, 2**16])
def test_each_index_once(length, max_table):
    for key in ([0], [1, 2, 3]):
        order = KeyedPermutation(length, key, max_table)(np.arange(length))
        assert order.dtype == np.int64
        assert np.array_equal(np.sort(order), np.arange(length))


@pytest.mark.parametrize("length", [10**9, 10**12 + 39, 2**62])
def test_of_any_length(length):
    permutation = KeyedPermutation(length, [4])
    assert len(permutation) == length
    for start in (0, length // 3, length - 20_000):
        order = permutation(np.arange(start, start + 20_000))
        assert len(np.unique(order)) == 20_000
        assert order.min() >= 0 and order.max() < length
        assert abs(deviation(np.bincount((order // (length / 16)).astype(int)))) < GOOD


@pytest.mark.parametrize("max_table", [0, 2**16])
def test_any_place_alone(max_table):
    permutation = KeyedPermutation(40_000, [7, 1], max_table)
    order = permutation(np.arange(40_000))
    assert permutation(np.array([31_999]))[0] == order[31_999]
    places = np.array([[5, 39_999], [0, 17_000]])
    assert np.array_equal(permutation(places), order[places])
    assert permutation(np.zeros(0, dtype=int)).shape == (0,)
    again = KeyedPermutation(40_000, [7, 1], max_table)
    assert np.array_equal(again(np.arange(40_000)), order)


def test_the_network_is_as_it_was():
    # A run that goes on with a newer version must find its order again.
    permutation = KeyedPermutation(10**9, [0, 0])
    assert permutation(np.arange(4)).tolist() == [
        709811905,
        680971539,
        933193744,
        468470273,
    ]


@pytest.mark.parametrize(
    "permute, length, max_table",
    [(keyed, *case) for case in LENGTHS] + [(numpys, 1009, 0)],
)
def test_every_place_is_equally_likely(permute, length, max_table):
    counts = positions(permute, length, max_table)
    assert abs(deviation(np.sum(counts, axis=0))) < GOOD
    assert max(abs(deviation(c)) for c in counts) < GOOD


def test_an_order_from_a_buffer_is_told_by_its_places():
    assert deviation(positions(buffered, 1009, 0)[3]) > BAD


@pytest.mark.parametrize("length, max_table", LENGTHS)
@pytest.mark.parametrize("permute", [keyed, numpys])
@pytest.mark.parametrize("stride", [1, 2, 8, 512])
def test_neighbours_show_no_structure(permute, length, max_table, stride):
    # Strides: what follows on one rank of so many.
    assert abs(deviation(neighbours(permute, length, max_table, stride))) < GOOD


@pytest.mark.parametrize("bad", [affine, buffered])
def test_bad_orders_are_told_by_their_neighbours(bad):
    assert deviation(neighbours(bad, 1009, 0)) > BAD


@pytest.mark.parametrize("length, max_table", LENGTHS)
@pytest.mark.parametrize("permute", [keyed, numpys])
@pytest.mark.parametrize("other", [next_epoch, next_seed])
def test_epochs_and_seeds_have_nothing_in_common(permute, length, max_table, other):
    assert abs(deviation(pairs(permute, length, max_table, other))) < GOOD
    assert abs(deviation(shifts(permute, length, max_table, other))) < GOOD
    # The correlation of two random permutations has this standard deviation.
    first = permute(length, 0, 0, max_table)
    second = permute(length, *other(0), max_table)
    correlation = np.corrcoef(first, second)[0, 1]
    assert abs(correlation) < GOOD / math.sqrt(length - 1)


@pytest.mark.parametrize("other", [next_epoch, next_seed])
def test_bad_orders_are_told_by_their_epochs_and_seeds(other):
    assert deviation(shifts(rotated, 1009, 0, other)) > BAD
    assert deviation(pairs(buffered, 1009, 0, other)) > BAD


@pytest.mark.parametrize("length, seeds", [(2, 500), (3, 1200), (4, 4800), (5, 12_000)])
def test_short_ones_come_out_equally_often(length, seeds):
    every = list(itertools.permutations(range(length)))
    counts = Counter(tuple(keyed(length, s, max_table=2**16)) for s in range(seeds))
    assert abs(deviation([counts[order] for order in every])) < GOOD


def test_the_network_alone_would_not_do_for_short_ones():
    # Why there is a table.
    counts = Counter(tuple(keyed(6, seed, max_table=0)) for seed in range(7200))
    every = itertools.permutations(range(6))
    assert deviation([counts[order] for order in every]) > BAD


@pytest.mark.parametrize("length, max_table", [(10, 2**16), (1009, 0)])
def test_fixed_points_are_as_many_as_in_random_permutations(length, max_table):
    # One on average, with a variance of one.
    fixed = [
        (keyed(length, seed, max_table=max_table) == np.arange(length)).sum()
        for seed in range(2000)
    ]
    assert abs(np.mean(fixed) - 1) < GOOD / math.sqrt(2000)


@pytest.mark.parametrize("length", [-1, 2**62 + 1])
def test_lengths_out_of_range(length):
    with pytest.raises(ValueError, match=r"length must be from 0 to 2\*\*62"):
        KeyedPermutation(length, [0])
