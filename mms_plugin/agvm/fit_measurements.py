"""Fit AGVM's measurements to the number of updates of a training.

Pure functions. The constants are those of the released AGVM recipes (MMDetection 2,
arXiv 2210.11078), trainings of 924 to 7,330 updates. What they become in shorter ones
follows from ``docs/large_batch.md``.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

__all__ = ["WARMUP_PART", "MeasurementTimes", "fit_measurements"]

WARMUP_PART = 1 / 8
"""Part of the training that the warm-up takes in the released recipes."""

# Updates between the end of the warm-up and the first measurement, and their largest
# share of the training. In 480 updates the heads see little but background for 60 more
# after the warm-up, and their Φ is too low: see "Where AGVM diverges first".
DELAY = 100
DELAY_PART = 0.15

# Largest interval between measurements, in updates; the second above batch size 1,000.
INTERVAL, INTERVAL_OF_THOUSANDS = 10, 5
MEASUREMENTS = 100

# The moving average covers about 1 / (1 - momentum) measurements: 33 with 0.97. This
# should be at most a fifth of all measurements, as in the published run of 924 updates.
MOMENTUM, LOWEST_MOMENTUM = 0.97, 0.9
AVERAGED_PART = 1 / 5


class MeasurementTimes(NamedTuple):
    """When AGVM measures, in updates, and how it averages.

    Attributes:
        start: First update before which AGVM measures.
        interval: Number of updates from one measurement to the next.
        momentum: Momentum of the moving average.
        measurements: Number of measurements in the training.
    """

    start: int
    interval: int
    momentum: float
    measurements: int


def fit_measurements(
    updates: int,
    warmup: Optional[int] = None,
    batch_size: Optional[int] = None,
    start: Optional[int] = None,
    interval: Optional[int] = None,
    momentum: Optional[float] = None,
    stop: Optional[int] = None,
) -> MeasurementTimes:
    """Choose the measurements of a training; values that are given stay.

    Args:
        updates: Number of updates of the whole training.
        warmup: Number of updates of the warm-up. Defaults to None: an eighth of the
            training.
        batch_size: Images per update. Defaults to None: 1,000 or fewer.
        start: First update before which AGVM measures. Defaults to None: 100 updates
            after the warm-up, or 15 % of the training if that is less.
        interval: Number of updates from one measurement to the next. Defaults to None:
            10, or 5 above a batch size of 1,000, and less if the training would have
            fewer than 100 measurements.
        momentum: Momentum of the moving average. Defaults to None: 0.97, or less if
            that would average over more than a fifth of the measurements, but at least
            0.9.
        stop: First update before which AGVM does not measure any more. Defaults to
            None: the end of the training.
    """
    if warmup is None:
        warmup = max(1, int(updates * WARMUP_PART))
    if start is None:
        delay = min(DELAY, max(1, round(updates * DELAY_PART)))
        start = max(0, min(warmup + delay, updates - 1))
    measured = (updates if stop is None else min(stop, updates)) - start
    if interval is None:
        thousands = batch_size is not None and batch_size > 1000
        most = INTERVAL_OF_THOUSANDS if thousands else INTERVAL
        interval = max(1, min(most, measured // MEASUREMENTS))
    measurements = max(0, -(-measured // interval))
    if momentum is None:
        averaged = max(1.0, measurements * AVERAGED_PART)
        momentum = max(LOWEST_MOMENTUM, min(MOMENTUM, 1 - 1 / averaged))
        momentum = round(momentum, 3)
    return MeasurementTimes(start, interval, momentum, measurements)
