import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mms_plugin.agvm import (
    gradient_variance,
    half_batch_variance,
    smoothed_multiplier,
    target_multiplier,
)


def test_gradient_variance_by_hand():
    # a = (3, 0), b = (1, 1): cos = 1 / sqrt(2)
    assert gradient_variance([9, 3, 2]) == pytest.approx(1 - 1 / math.sqrt(2))
    assert gradient_variance([4, -6, 9]) == 2.0
    assert gradient_variance([4, 6, 9]) == 0.0
    # rounding may not push it out of its range
    assert gradient_variance([1, 1 + 1e-15, 1]) == 0.0


@pytest.mark.parametrize(
    "products",
    [[0, 0, 1], [1, 0, 0], [0, 0, 0], [math.nan, 0, 1], [1, math.inf, 1], [1, 1, -1]],
)
def test_gradient_variance_is_nan_without_an_angle(products):
    assert math.isnan(gradient_variance(products))


def test_gradient_variance_survives_tiny_and_huge_numbers():
    assert gradient_variance([1e-300, 0.5e-300, 1e-300]) == pytest.approx(0.5)
    assert gradient_variance([1e300, 0.5e300, 1e300]) == pytest.approx(0.5)


def test_target_multiplier_by_hand():
    assert target_multiplier(0.2, 0.1, (0.5, 10)) == pytest.approx(
        math.sqrt((0.2 + 1e-6) / (0.1 + 1e-6))
    )
    assert target_multiplier(1.0, 0.001, (0.5, 10)) == math.sqrt(10)
    assert target_multiplier(0.001, 1.0, (0.5, 10)) == math.sqrt(0.5)
    assert target_multiplier(0.0, 0.0, (0.5, 10)) == 1.0
    assert target_multiplier(0.7, 0.1, (1, 1)) == 1.0


@given(st.floats(0, 0.999999), st.floats(0.01, 10))
@settings(max_examples=200, deadline=None)
def test_smoothing_holds_what_is_reached(momentum, value):
    assert smoothed_multiplier(value, value, momentum) == value


def test_smoothing_by_hand():
    assert smoothed_multiplier(1.0, 2.0, 0.97) == pytest.approx(1.03)


@pytest.mark.parametrize("signal", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("part", [1, 2, 5, 8, 12])
def test_half_batch_variance_against_drawn_noise(signal, part):
    # 200,000 dimensions: the angles are as good as their expectation. A batch of
    # eight images of known mean and noise, and others.
    rng = np.random.default_rng(0)
    mean = rng.standard_normal(200_000) * signal

    def gradient(images):
        return mean + rng.standard_normal(200_000) / math.sqrt(images)

    def phi(a, b):
        return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    first, second = gradient(4), gradient(4)
    batch, other = (first + second) / 2, gradient(part)
    estimate = half_batch_variance(phi(batch, other), part / 8)
    assert estimate == pytest.approx(phi(first, second), abs=0.01)
    # Of the expectation: |m|^2 = signal^2 and s = 1 per dimension.
    expected = 1 - signal**2 / (signal**2 + 1 / 4)
    assert estimate == pytest.approx(expected, abs=0.01)


def test_half_batch_variance_of_two_whole_batches():
    for phi in (0.0, 0.1, 0.5, 1.0, 1.7, 2.0):
        assert half_batch_variance(phi) == pytest.approx(2 * phi / (1 + phi))


@pytest.mark.parametrize("ratio", [0.125, 0.25, 1.0, 3.0])
def test_half_batch_variance_rises(ratio):
    values = [half_batch_variance(phi, ratio) for phi in np.linspace(0, 2, 50)]
    assert values == sorted(values) and values[0] == pytest.approx(0, abs=1e-12)


def test_half_batch_variance_at_its_ends():
    for ratio in (0.25, 1.0):
        assert half_batch_variance(0.0, ratio) == pytest.approx(0.0, abs=1e-15)
        assert half_batch_variance(1.0, ratio) == 1.0
    assert math.isnan(half_batch_variance(math.nan))
