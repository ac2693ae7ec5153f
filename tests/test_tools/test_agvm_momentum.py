"""The arithmetic of momenta against simulated measurements."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "benchmarks"))

import agvm_momentum

from mms_plugin.agvm import smoothed_multiplier


@pytest.mark.parametrize("momentum, measurements", [(0.9, 20), (0.97, 50), (0.0, 3)])
def test_the_error_is_that_of_simulated_multipliers(momentum, measurements):
    target, scatter = 1.6, 0.4
    rng = np.random.default_rng(0)
    multiplier = np.ones(20_000)
    for _ in range(measurements):
        targets = target + scatter * rng.standard_normal(multiplier.shape)
        multiplier = smoothed_multiplier(multiplier, targets, momentum)
    error = math.sqrt(np.mean((multiplier - target) ** 2))
    expected = agvm_momentum.expected_error(momentum, measurements, target, scatter)
    assert expected == pytest.approx(error, rel=0.02)


def test_targets_are_read_from_an_arm():
    rng = np.random.default_rng(0)
    per_point, scatter, measured = 4, 0.2, []
    for point in range(3000):
        # Targets 1.5 with a slow drift; a point is the mean of four measurements.
        root = 1.5 + point / 3000 + scatter / 2 * rng.standard_normal()
        phi = dict(backbone=0.9, neck=0.9 / root**2, head=0.9 / 100)
        measured.append(dict(update=3000 + point * per_point, phi=phi))
    arm = dict(name="x", updates=15_000, agvm=True, measured=measured)
    arm["agvm_args"] = dict(interval=1)
    found = agvm_momentum.measured_targets(arm)
    assert list(found) == ["neck", "head"]
    assert found["neck"][1] == pytest.approx(scatter, rel=0.1)
    assert found["head"] == (pytest.approx(math.sqrt(10)), pytest.approx(0))
    with pytest.raises(ValueError, match="x measured too little"):
        agvm_momentum.measured_targets(dict(arm, measured=measured[:1]))
    with pytest.raises(ValueError, match="x trained without AGVM"):
        agvm_momentum.measured_targets(dict(arm, agvm=False))


def test_the_table_has_the_fitted_momentum_last():
    rows = agvm_momentum.table([20, 100, 400]).splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert cells[2] == ["20", "88 %", "64 %", "46 %", "18 %", "88 % (0.9)"]
    assert cells[4][-1] == "100 % (0.97)"
    assert "0.95" in agvm_momentum.table([100], (1.5, 0.3)).splitlines()[2]
