"""What is drawn from at each time of a training."""

import pytest

from mms_plugin.multi_scale import (
    GrowingSizes,
    ResolutionCurriculum,
)


def test_without_a_curriculum():
    growing = GrowingSizes(8, 16, [8, 16, 32], weights=[1, 0, 3])
    for fraction in (0.0, 0.4, 1.0):
        drawn = growing.distribution(fraction)
        assert drawn.sizes == ((8, 8), (32, 32))
        assert (drawn.batch_sizes, drawn.weights) == ((32, 2), (1.0, 3.0))
    assert growing.largest_batch == 32 and not growing.has_table
    assert GrowingSizes(8, sizes=[8, 16]).base_size == (16, 16)
    assert GrowingSizes(8, 24).sizes == ((24, 24),)


def test_with_a_curriculum():
    growing = GrowingSizes(8, 16, [8, 12, 16, 20], weights=[1, 2, 4, 5])
    growing.set_curriculum(ResolutionCurriculum(start_sizes=[10], end=1.0))
    start = growing.distribution(0.0)
    # 8 * 16 * 16 / (10 * 10) = 20.48; the mean of the weights
    assert start == (((10, 10),), (20,), (3.0,))
    # From 10 to 8 and from 10 to 20: half way, sides from 9 to 15.
    assert growing.distribution(0.5).sizes == ((12, 12),)
    assert growing.distribution(0.6).sizes == ((12, 12), (16, 16))
    assert growing.distribution(1.0).sizes == growing.sizes
    assert [d.sizes for d in growing.distributions()] == [((10, 10),), growing.sizes]


def test_start_sizes_of_which_one_has_no_weight():
    growing = GrowingSizes(8, 16, [8, 10, 20], weights=[1, 0, 1])
    growing.set_curriculum(
        ResolutionCurriculum(start_sizes=[8, 10], end_sizes=[20], end=1.0)
    )
    for epoch in range(101):
        drawn = growing.distribution(epoch / 100)
        assert drawn.sizes in (((8, 8),), ((20, 20),))
    assert growing.distribution(1.0).sizes == ((20, 20),)


def test_a_table_or_fixed_batches():
    table = GrowingSizes(8, 16, [8, 16], batch_sizes=[5, 3])
    assert table.distribution(1.0).batch_sizes == (5, 3) and table.has_table
    with pytest.raises(ValueError, match="start_sizes must be among.*batch_sizes"):
        table.set_curriculum(ResolutionCurriculum(start_sizes=[12]))
    fixed = GrowingSizes(8, 16, [8, 16], variable_batch=False)
    assert fixed.batch_sizes == (8, 8)
