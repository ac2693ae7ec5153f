import random

import numpy as np
import pytest
import torch

from mms_plugin.utils.random_state import mixed_seed, seeded, set_seeds


def draw():
    return np.random.rand(), random.random(), torch.rand(1).item()


def test_mixed_seed():
    numbers = [mixed_seed(a, b) for a in range(40) for b in range(40)]
    assert len(set(numbers)) == 1600
    assert all(0 <= number < 2**64 for number in numbers)
    assert mixed_seed(1, 2) == mixed_seed(1, 2) != mixed_seed(2, 1)
    # Neighbours differ in half of the bits.
    flips = [bin(a ^ b).count("1") for a, b in zip(numbers, numbers[1:])]
    assert np.mean(flips) == pytest.approx(32, abs=0.5)


def test_generators_samples_and_epochs_have_nothing_in_common():
    draws = np.zeros((30, 200, 3))
    for epoch in range(30):
        for index in range(200):
            with seeded(mixed_seed(mixed_seed(0, epoch, index // 8), index)):
                draws[epoch, index] = draw()
    # Standard error of a correlation of 6,000 pairs: 0.013.
    between = np.corrcoef(draws.reshape(-1, 3).T)
    assert np.abs(between - np.eye(3)).max() < 0.05
    for one, other in ((draws[1:], draws[:-1]), (draws[:, 1:], draws[:, :-1])):
        for kind in range(3):
            pair = one[..., kind].ravel(), other[..., kind].ravel()
            assert abs(np.corrcoef(*pair)[0, 1]) < 0.05
    counts, _ = np.histogram(draws, bins=20, range=(0, 1))
    expected = draws.size / 20
    # Chi-square with 19 degrees of freedom: 43.8 has a probability of 0.001.
    assert ((counts - expected) ** 2 / expected).sum() < 43.8


def test_a_sample_is_the_same_whenever_it_is_made():
    with seeded(5):
        first = draw()
    draw()
    with seeded(5):
        assert draw() == first
    with seeded(6):
        assert draw() != first


def test_the_generators_go_on_after_a_sample():
    set_seeds(1)
    expected = [draw() for _ in range(2)]
    set_seeds(1)
    got = [draw()]
    with pytest.raises(ZeroDivisionError), seeded(5):
        draw()
        raise ZeroDivisionError
    got.append(draw())
    assert got == expected


def test_without_a_seed_nothing_is_touched():
    set_seeds(1)
    expected = draw()
    set_seeds(1)
    with seeded(None):
        assert draw() == expected
