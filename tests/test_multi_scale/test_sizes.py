import math
from fractions import Fraction

import numpy as np
import pytest

from mms_plugin.multi_scale import parse_size, parse_sizes, pixel_budget_batch_size
from mms_plugin.multi_scale.sizes import (
    SizeDistribution,
    cost_model_batch_size,
    ordered_sizes,
    parse_batch_sizes,
    parse_cost_model,
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
        # Every multiple, wherever the ends lie between two of them.
        (dict(min=100, max=300), [128, 160, 192, 224, 256, 288]),
        (dict(min=150, max=500), list(range(160, 481, 32))),
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


def most_images_within(batch_size, base_size, size, alpha, beta):
    """By trying one image more, in integers: alpha and beta are integers here."""
    budget = batch_size * (alpha * base_size[0] * base_size[1] + beta)
    images = 1
    while (images + 1) * (alpha * size[0] * size[1] + beta) <= budget:
        images += 1
    return images


@pytest.mark.parametrize("alpha", [1, 3, 1000])
@pytest.mark.parametrize("beta", [0, 1, 2048, 10**5, 10**9])
def test_cost_model_gives_the_most_images_within_the_cost_of_the_base(alpha, beta):
    model = parse_cost_model(dict(alpha=alpha, beta=beta))
    for batch_size in (1, 4, 7, 32):
        for size in [(96, 96), (128, 64), (192, 192), (200, 300), (512, 640)]:
            expected = most_images_within(batch_size, (192, 192), size, alpha, beta)
            got = cost_model_batch_size(batch_size, (192, 192), size, model)
            assert got == expected


@pytest.mark.parametrize("alpha", [1, 1.0, 0.1, 1 / 3, 1e-9, 7e300, 5e-324])
def test_cost_model_without_beta_is_the_pixel_budget(alpha):
    model = parse_cost_model(dict(alpha=alpha))
    for batch_size in (1, 3, 32, 3 * 10**15 + 1):
        for size in [(5, 20), (10, 10), (7, 13), (128, 320), (4000, 4000)]:
            assert cost_model_batch_size(
                batch_size, (10, 10), size, model
            ) == pixel_budget_batch_size(batch_size, (10, 10), size)


def test_cost_model_reads_floats_as_they_are_written():
    # 7 * (16 + 3) / (4 + 3) = 19 to the last image; in binary 0.9 is above 3 * 0.3.
    assert Fraction(0.9) > 3 * Fraction(0.3)
    for value in [
        dict(alpha=0.3, beta=0.9),
        dict(alpha=np.float64(0.3), beta=np.float64(0.9)),
        dict(beta=np.int64(3)),
        dict(alpha=Fraction(1, 3), beta=1),
    ]:
        model = parse_cost_model(value)
        assert cost_model_batch_size(7, (4, 4), (2, 2), model) == 19
    assert parse_cost_model(dict(alpha=0.3, beta=0.9)).cost((2, 2)) == Fraction(21, 10)
    assert parse_cost_model(None) is None
    assert parse_cost_model(model) is model


@pytest.mark.parametrize(
    "value, says",
    [
        (dict(alpha=0), "cost_model['alpha']"),
        (dict(alpha=-1.0), "cost_model['alpha']"),
        (dict(alpha=math.nan), "nan"),
        (dict(alpha=math.inf), "inf"),
        (dict(alpha=True), "True"),
        (dict(alpha=None), "None"),
        (dict(beta=-1), "cost_model['beta']"),
        (dict(beta=math.inf), "cost_model['beta']"),
        (dict(beta="4"), "'4'"),
        (dict(alpha=1, gamma=2), "gamma"),
        (dict(overhead=1), "overhead"),
        ([1, 2], "cost_model must be dict(alpha=..., beta=...)"),
        (3, "cost_model must be"),
    ],
)
def test_bad_cost_model(value, says):
    with pytest.raises(ValueError) as error:
        parse_cost_model(value)
    assert says in str(error.value)


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


def test_sizes_are_ordered_by_their_pixels():
    sizes = [(320, 320), (256, 128), (128, 256), (160, 160)]
    assert ordered_sizes(sizes) == [(160, 160), (128, 256), (256, 128), (320, 320)]


def test_mean_batch_size_is_weighted_by_iterations():
    distribution = SizeDistribution(((1, 1), (2, 2)), (8, 2), (1.0, 3.0))
    assert distribution.mean_batch_size == 3.5
