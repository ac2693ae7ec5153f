import itertools
import pickle
import tracemalloc
from unittest import mock

import pytest
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import Sampler
from toys import train_dataloader

from mms_plugin.multi_scale import (
    KeyedPermutation,
    KeyedPermutationSampler,
    MultiScaleVariableBatchSampler,
)


class Length:
    """A data set of which only the length is known."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length


def on_rank(rank, world_size, cls, dataset, **kwargs):
    module = cls.__module__
    with mock.patch(f"{module}.get_dist_info", return_value=(rank, world_size)):
        return cls(dataset, **{"seed": 3, **kwargs})


def ours(num, rank=0, world_size=1, **kwargs):
    return on_rank(rank, world_size, KeyedPermutationSampler, Length(num), **kwargs)


def test_it_is_registered_and_a_sampler():
    assert DATA_SAMPLERS.get("KeyedPermutationSampler") is KeyedPermutationSampler
    sampler = DATA_SAMPLERS.build(
        dict(type="KeyedPermutationSampler", dataset=range(5), seed=1)
    )
    assert isinstance(sampler, Sampler)
    assert sorted(sampler) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize(
    "num, world_size",
    [(1, 1), (10, 1), (10, 2), (10, 3), (3, 7), (1, 9), (64, 8), (4097, 4096)],
)
def test_shares_are_those_of_the_default_sampler(num, world_size, round_up):
    every = {0, 1, world_size // 2, world_size - 1} & set(range(world_size))
    for rank in every:
        kwargs = dict(shuffle=False, round_up=round_up)
        sampler = ours(num, rank, world_size, **kwargs)
        default = on_rank(rank, world_size, DefaultSampler, range(num), **kwargs)
        assert list(sampler) == list(default)
        assert len(sampler) == len(default) == len(list(sampler))
        names = ("rank", "world_size", "num_samples", "total_size", "seed", "epoch")
        for name in (*names, "round_up", "shuffle"):
            assert getattr(sampler, name) == getattr(default, name), name


@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize("num", [1, 3, 10, 1000, 70_001])
@pytest.mark.parametrize("world_size", [1, 2, 7])
def test_ranks_deal_out_one_permutation_in_turns(num, world_size, round_up):
    for epoch in (0, 5):
        shares = []
        for rank in range(world_size):
            sampler = ours(num, rank, world_size, round_up=round_up)
            sampler.set_epoch(epoch)
            shares.append(list(sampler))
            assert len(shares[-1]) == len(sampler)
        # Back in turns: the first of every rank, the second of every rank, ...
        turns = itertools.zip_longest(*shares)
        dealt = [index for turn in turns for index in turn if index is not None]
        assert sorted(dealt[:num]) == list(range(num))
        extra = -num % world_size if round_up else 0
        assert dealt[num:] == list(
            itertools.islice(itertools.cycle(dealt[:num]), extra)
        )


def test_the_order_does_not_hang_on_the_number_of_ranks():
    alone = list(ours(1000))
    assert list(ours(1000, 2, 5)) == alone[2::5]


def test_epochs_and_seeds_give_other_orders():
    sampler = ours(1000)
    orders = []
    for epoch in (0, 1, 2):
        sampler.set_epoch(epoch)
        orders.append(tuple(sampler))
    orders.append(tuple(ours(1000, seed=4)))
    # A seed one higher is not an epoch later, as it is in DefaultSampler.
    assert len(set(orders)) == 4
    sampler.set_epoch(0)
    assert tuple(sampler) == orders[0]


@pytest.mark.parametrize("num", [10, 1000, 100_003])
@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_from_any_position(num, world_size, shuffle):
    for rank in range(world_size):
        sampler = ours(num, rank, world_size, shuffle=shuffle)
        sampler.set_epoch(2)
        every = list(sampler)
        for position in {0, 1, len(every) // 2, len(every) - 1, len(every)}:
            assert list(sampler.iter_from(position)) == every[position:]


def test_positions_before_are_not_computed():
    sampler = ours(10**12, 17, 4096)
    with mock.patch.object(
        KeyedPermutation,
        "__call__",
        autospec=True,
        side_effect=KeyedPermutation.__call__,
    ) as computed:
        next(sampler.iter_from(len(sampler) - 5))
    positions = computed.call_args[0][1]
    assert computed.call_count == 1 and len(positions) == 5


def test_an_iterator_keeps_its_epoch():
    sampler = ours(100_000)
    expected = list(sampler)
    indices = iter(sampler)
    given = [next(indices)]
    sampler.set_epoch(1)
    assert given + list(indices) == expected


def test_indices_are_plain_integers():
    for num in (10, 100_000):
        assert all(type(i) is int for i in itertools.islice(ours(num), 100))


def test_memory_does_not_grow_with_the_data_set():
    tracemalloc.start()
    try:
        for _ in itertools.islice(ours(10**9, 17, 4096), 100_000):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_after_pickling():
    sampler = ours(100_000, 1, 3)
    sampler.set_epoch(4)
    assert list(pickle.loads(pickle.dumps(sampler))) == list(sampler)


def test_an_empty_data_set_gives_nothing():
    assert list(ours(0)) == list(ours(0, 1, 3, round_up=False)) == []


@pytest.mark.parametrize("seed", [-1, 1.5, "3", True])
def test_seeds_that_cannot_be(seed):
    with pytest.raises(ValueError, match="seed must be an integer of at least 0"):
        ours(10, seed=seed)


@pytest.mark.parametrize("position", [-1, 11, 0.5])
def test_positions_that_cannot_be(position):
    with pytest.raises(ValueError, match="position must be"):
        ours(10).iter_from(position)


def test_in_a_data_loader_of_mmengine():
    loader = Runner.build_dataloader(
        dict(
            batch_size=7,
            num_workers=0,
            dataset=dict(type="ToyDataset", num=50),
            sampler=dict(type="KeyedPermutationSampler", shuffle=True),
            collate_fn=dict(type="pseudo_collate"),
        ),
        seed=11,
    )
    assert loader.sampler.seed == 11
    epochs = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        epochs.append([i for batch in loader for i in batch["i"]])
        assert sorted(epochs[-1]) == list(range(50))
    assert epochs[0] != epochs[1]


def test_in_a_training_of_variable_batches(make_runner):
    runner = make_runner(
        train_dataloader=train_dataloader(
            num=100, sampler=dict(type="KeyedPermutationSampler", shuffle=True)
        ),
        train_cfg=dict(by_epoch=True, max_epochs=2),
    )
    runner.train()
    seen = [i for batch in runner.model.samples for i in batch]
    assert sorted(seen[:100]) == sorted(seen[100:]) == list(range(100))
    assert seen[:100] != seen[100:]


@pytest.mark.parametrize("world_size, num", [(2, 1001), (8, 1000), (9, 40)])
def test_exactly_once_over_ranks_in_variable_batches(world_size, num):
    dealt = []
    for rank in range(world_size):
        sampler = MultiScaleVariableBatchSampler(
            ours(num, rank, world_size, round_up=False), 8, 64, [32, 64, 96]
        )
        dealt += [int(i) for batch in sampler for i in batch]
    assert sorted(dealt) == list(range(num))
