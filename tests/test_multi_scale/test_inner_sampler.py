"""What the batch sampler asks of the sampler inside it."""

import itertools

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import RandomSampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from mms_plugin.multi_scale import (
    KeyedPermutationSampler,
    MultiScaleVariableBatchSampler,
)
from mms_plugin.multi_scale.inner_sampler import (
    RewindableIndices,
    deals_in_turn,
    indices_of_epoch,
    is_endless,
    remaining_indices,
    shares_of,
    with_seed,
)

DATA = range(10)


def test_kinds_of_samplers():
    assert is_endless(InfiniteSampler(DATA)) and is_endless(itertools.count())
    assert not is_endless(DefaultSampler(DATA))
    assert deals_in_turn(DefaultSampler(DATA))
    assert deals_in_turn(KeyedPermutationSampler(DATA, seed=1))
    assert deals_in_turn(DistributedSampler(DATA, num_replicas=2, rank=0))
    assert not deals_in_turn(RandomSampler(DATA))


@pytest.mark.parametrize("round_up", [True, False])
def test_shares(round_up):
    sampler = KeyedPermutationSampler(
        DATA, seed=1, round_up=round_up, rank=1, world_size=3
    )
    shares = shares_of(sampler)
    assert (shares.rank, shares.world_size, shares.padded) == (1, 3, round_up)
    assert (shares.on_rank, shares.distinct) == (4 if round_up else 3, 10)
    assert shares.total == (12 if round_up else 10)
    assert shares_of(SequentialSampler(DATA))[:3] == (0, 1, 10)


def test_unequal_shares_of_a_part_of_the_data():
    """As mmdet's ``CustomSampleSizeSampler``: an epoch is not the whole dataset."""

    class Part:
        dataset, total_size, round_up, world_size = DATA, 7, False, 2

        def __init__(self, rank):
            self.rank = rank

        def __len__(self):
            return len(range(self.rank, 7, 2))

    for rank, on_rank in ((0, 4), (1, 3)):
        shares = shares_of(Part(rank))
        assert (shares.on_rank, shares.total) == (on_rank, 7)


def test_an_endless_sampler_is_read_again_from_the_start():
    expected = list(itertools.islice(InfiniteSampler(DATA, seed=3), 30))
    indices = RewindableIndices(InfiniteSampler(DATA, seed=3))
    assert list(itertools.islice(indices, 12)) == expected[:12]
    assert list(itertools.islice(indices, 20)) == expected[:20]
    indices.skip(5)
    assert list(itertools.islice(indices, 25)) == expected[5:]
    ahead = RewindableIndices(InfiniteSampler(DATA, seed=3))
    ahead.skip(7)
    assert next(iter(ahead)) == expected[7]


def test_all_indices_of_an_epoch_leave_the_sampler_where_it_is():
    sampler = DefaultSampler(DATA, shuffle=True, seed=3)
    sampler.set_epoch(4)
    fourth = list(sampler)
    sampler.set_epoch(1)
    found = indices_of_epoch(sampler, 4, current=1)
    assert found.tolist() == fourth and found.dtype == np.int64
    assert sampler.epoch == 1


def test_remaining_indices():
    sampler = DefaultSampler(DATA, shuffle=True, seed=3)
    every = list(sampler)
    shares = shares_of(sampler)
    assert list(remaining_indices(sampler, shares, 0, 4)) == every[4:]
    # After samples that were used elsewhere, others fill up equal shares.
    rest = list(remaining_indices(sampler, shares, 3, 2))
    assert rest[:5] == every[5:] and rest[5:] == every


def test_another_seed():
    infinite = with_seed(InfiniteSampler(DATA, seed=3), 4)
    other = InfiniteSampler(DATA, seed=4)
    assert list(itertools.islice(infinite, 20)) == list(itertools.islice(other, 20))
    assert with_seed(DefaultSampler(DATA, seed=3), 4).seed == 4
    with pytest.raises(ValueError, match="SequentialSampler takes no seed"):
        with_seed(SequentialSampler(DATA), 4)


class TwoSources:
    """As mmdet's ``MultiSourceSampler``: whole batches, in turn of both sources."""

    source_ratio = [1, 4]

    def __init__(self, batch_size):
        self.batch_size = batch_size

    def __iter__(self):
        labeled, others = itertools.count(), itertools.count(1000)
        while True:
            yield next(labeled)
            yield from itertools.islice(others, self.batch_size - 1)


def test_batches_of_several_sources_are_not_cut():
    def batches(sizes, **arguments):
        sampler = MultiScaleVariableBatchSampler(
            TwoSources(5), 5, base_size=8, sizes=sizes, seed=0, **arguments
        )
        return list(itertools.islice(iter(sampler), 50))

    with pytest.raises(ValueError, match="multiples of 5, the batch_size of Two"):
        batches([6, 8])
    for kept in (
        batches([6, 8], batch_sizes=[10, 5]),
        batches([6, 8], variable_batch=False),
    ):
        for batch in kept:
            labeled = [index for index in batch if index < 1000]
            assert len(batch) == 5 * len(labeled)
