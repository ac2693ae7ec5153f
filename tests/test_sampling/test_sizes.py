import math

import pytest

from mms_plugin.sampling import parse_size, parse_sizes, pixel_budget_batch_size
from mms_plugin.sampling.sizes import (
    SizeDistribution,
    parse_batch_sizes,
    parse_weights,
)


def test_sizes_are_sides_or_pairs_in_the_order_given():
    assert parse_sizes([320, (128, 160), [96, 64]]) == (
        (320, 320),
        (128, 160),
        (96, 64),
    )


@pytest.mark.parametrize(
    "value, sides",
    [
        (
            dict(min=128, max=320, num=7, divisor=32),
            [128, 160, 192, 224, 256, 288, 320],
        ),
        (dict(min=128, max=320), [128, 160, 192, 224, 256, 288, 320]),
        # 512 + k * 85.33 to the nearest multiple of 32, by hand
        (
            dict(min=512, max=1280, num=10, divisor=32),
            [512, 608, 672, 768, 864, 928, 1024, 1120, 1184, 1280],
        ),
        (dict(min=100, max=200, divisor=32), [128, 160, 192]),
        (dict(min=100, max=100, divisor=1), [100]),
        # 10, 12.5 and 15: halves round up
        (dict(min=10, max=15, num=3, divisor=1), [10, 13, 15]),
    ],
)
def test_range(value, sides):
    assert parse_sizes(value) == tuple((s, s) for s in sides)


def test_range_of_pairs():
    assert parse_sizes(dict(min=(32, 64), max=(96, 128), num=3, divisor=32)) == (
        (32, 64),
        (64, 96),
        (96, 128),
    )


@pytest.mark.parametrize(
    "value, says",
    [
        ([], "at least one size"),
        (None, "None"),
        ("224", "'224'"),
        ([0], "sizes[0]"),
        ([224, -1], "sizes[1]"),
        ([224.5], "224.5"),
        ([True], "True"),
        ([(1, 2, 3)], "(height, width)"),
        ([224, 224], "twice"),
        (dict(max=320), "'min'"),
        (dict(min=128), "'max'"),
        (dict(min=320, max=128), "min <= max"),
        (dict(min=128, max=320, step=32), "step"),
        (dict(min=128, max=320, num=0), "num"),
        (dict(min=128, max=320, divisor=0), "divisor"),
        (dict(min=33, max=63, divisor=32), "multiple of 32"),
    ],
)
def test_bad_sizes(value, says):
    with pytest.raises(ValueError, match="sizes") as error:
        parse_sizes(value)
    assert says in str(error.value)


@pytest.mark.parametrize("value", [(1, 2, 3), "a", None, 0, (0, 3), 1.5])
def test_bad_base_size(value):
    with pytest.raises(ValueError, match="base_size must be"):
        parse_size(value, "base_size")


@pytest.mark.parametrize(
    "side, images",
    # 32 * 224 * 224 = 1,605,632 pixels, divided by hand
    [(128, 98), (160, 62), (192, 43), (224, 32), (256, 24), (288, 19), (320, 15)],
)
def test_pixel_budget(side, images):
    assert pixel_budget_batch_size(32, (224, 224), (side, side)) == images


def test_pixel_budget_is_at_least_one_image_and_exact():
    assert pixel_budget_batch_size(1, (8, 8), (4000, 4000)) == 1
    # Floating point would lose the last image of this quotient.
    big = 3 * 10**15 + 1
    assert pixel_budget_batch_size(big, (10, 10), (5, 20)) == big


@pytest.mark.parametrize(
    "value", [[1], [1, 2, 3], [-1, 1], [math.nan, 1], [math.inf, 1], [0, 0], "ab", 3]
)
def test_bad_weights(value):
    with pytest.raises(ValueError, match="weights must be one number"):
        parse_weights(value, 2)


@pytest.mark.parametrize("value", [[1], [0, 1], [1.5, 1], [-2, 1], "ab", 3, [None, 1]])
def test_bad_batch_sizes(value):
    with pytest.raises(ValueError, match="batch_sizes must be one integer"):
        parse_batch_sizes(value, 2)


def test_mean_batch_size_is_weighted_by_iterations():
    distribution = SizeDistribution(((1, 1), (2, 2)), (8, 2), (1.0, 3.0))
    assert distribution.mean_batch_size == 3.5
