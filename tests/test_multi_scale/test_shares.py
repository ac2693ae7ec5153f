"""How an epoch is shared out, by counting positions."""

import pytest

from mms_plugin.multi_scale.shares import Shares, left_over_ranks, used_on_rank


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
@pytest.mark.parametrize("images", [0, 1, 2, 6, 7, 20])
def test_shares_by_counting(world_size, images):
    for rank in range(world_size):
        own = range(rank, 20, world_size)
        assert used_on_rank(images, rank, world_size) == sum(p < images for p in own)
    left = [
        sum(p >= images for p in range(20) if p % world_size == rank)
        for rank in range(world_size)
    ]
    assert left_over_ranks(20, images, world_size) == (max(left), min(left))


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("world_size", [1, 3, 4])
@pytest.mark.parametrize("used", [0, 1, 5, 9])
def test_what_each_rank_has_left(padded, world_size, used):
    distinct = 10
    on_rank = [len(range(rank, distinct, world_size)) for rank in range(world_size)]
    if padded:
        on_rank = [max(on_rank)] * world_size
    left = [
        len([p for p in range(rank, distinct, world_size) if p >= used])
        for rank in range(world_size)
    ]
    if padded:
        left = [max(left)] * world_size
    for rank in range(world_size):
        total = on_rank[rank] * world_size if padded else distinct
        shares = Shares(rank, world_size, on_rank[rank], total, distinct, padded)
        assert shares.left(used) == (max(left), min(left))
        assert shares.left_here(used) == left[rank]
