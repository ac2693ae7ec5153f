"""Measurements fitted to a training; the recipe's tests have those of the recipe."""

import pytest

from mms_plugin.agvm.fit_measurements import fit_measurements
from mms_plugin.agvm.measurements import ENOUGH_SHARE, moved_share
from mms_plugin.recipes.large_batch_numbers import large_batch_times


@pytest.mark.parametrize("updates", [8, 20, 66, 128, 187, 480, 924, 3_664, 7_330])
def test_it_has_an_effect_and_begins_after_an_eighth(updates):
    times = fit_measurements(updates)
    assert times.start > updates / 8
    assert times.measurements == len(range(times.start, updates, times.interval))
    assert moved_share(times.momentum, times.measurements) >= ENOUGH_SHARE
    assert 1 <= times.interval <= 10 and 0.9 <= times.momentum <= 0.97


def test_by_hand():
    # 480 // 8 = 60, and 15 % of 480 = 72 later; 348 measured every 3 are 116, of which
    # a fifth is averaged: 1 - 1 / 23.2.
    assert fit_measurements(480) == (132, 3, 0.957, 116)
    assert fit_measurements(480, warmup=10)[:2] == (82, 3)
    assert fit_measurements(40, start=0, interval=2, momentum=0.5) == (0, 2, 0.5, 20)


def test_the_recipe_uses_it():
    for updates in (66, 480, 3_664):
        times = large_batch_times(updates, 2048, warmup=updates // 8)
        fitted = fit_measurements(updates, batch_size=2048)
        assert (times.start, times.interval) == (fitted.start, fitted.interval)
        assert times.momentum == fitted.momentum


def test_no_length_breaks_it():
    for updates in range(1, 30):
        times = fit_measurements(updates)
        assert 0 <= times.start < updates and times.measurements >= 1
    assert fit_measurements(100, start=200).measurements == 0
    assert fit_measurements(100, stop=5).measurements == 0
