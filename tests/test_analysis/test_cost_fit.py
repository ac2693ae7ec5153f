import itertools
import math
import random

import numpy as np
import pytest

from mms_plugin.analysis import CostFit, Measurement, fit_cost, relative_errors

SIDES = (96, 128, 192, 256)


def measured(overhead, alpha, beta, noise=0.0, batch_sizes=(2, 8, 20)):
    draw = random.Random(1)
    return [
        Measurement(
            side,
            side + 32,
            batch,
            (overhead + batch * (alpha * side * (side + 32) + beta))
            * (1 + noise * draw.uniform(-1, 1)),
        )
        for side in SIDES
        for batch in batch_sizes
    ]


@pytest.mark.parametrize(
    "truth",
    [(0.05, 2e-6, 0.03), (0.0, 2e-6, 0.03), (0.05, 2e-6, 0.0), (3e9, 4e2, 1e7)],
)
def test_exact_measurements_give_back_what_made_them(truth):
    assert fit_cost(measured(*truth)) == pytest.approx(truth, rel=1e-6, abs=1e-9)


def test_noise_moves_the_fit_by_little():
    truth = (0.05, 2e-6, 0.03)
    fit = fit_cost(measured(*truth, noise=0.05))
    assert fit == pytest.approx(truth, rel=0.25)
    # What matters is what it predicts.
    for side, batch in itertools.product((96, 160, 256), (4, 30)):
        assert fit.at(side, side, batch) == pytest.approx(
            CostFit(*truth).at(side, side, batch), rel=0.05
        )


def test_an_outlier_does_not_bend_it():
    truth = (0.05, 2e-6, 0.03)
    rows = measured(*truth)
    rows[4] = rows[4]._replace(value=rows[4].value * 5)
    assert fit_cost(rows) == pytest.approx(truth, rel=1e-3)
    plain = np.linalg.lstsq(
        [[1 / m.value, m[0] * m[1] * m[2] / m.value, m[2] / m.value] for m in rows],
        np.ones(len(rows)),
        rcond=None,
    )[0]
    assert list(plain) != pytest.approx(truth, rel=0.05)  # all alike: it bends


def test_no_part_is_negative_and_the_rest_is_the_best():
    # Images cost less than their pixels: without a bound beta would be negative.
    rows = measured(0.05, 2e-6, -0.005)
    fit = fit_cost(rows)
    assert min(fit) >= 0 and fit.beta == 0 and fit.alpha > 0
    # No step to any side, within what is allowed, makes the sum of squares smaller.
    few = [rows[0], rows[7], rows[11]]
    fit = fit_cost(few)

    def squares(candidate):
        return sum(e * e for e in relative_errors(candidate, few))

    for part in CostFit._fields:
        scale = getattr(fit, part) or {"overhead": 0.05, "beta": 0.03}[part]
        for step in (-0.01, 0.01):
            moved = fit._replace(**{part: getattr(fit, part) + step * scale})
            if getattr(moved, part) >= 0:
                assert squares(moved) >= squares(fit) - 1e-12


def test_relative_errors():
    fit = CostFit(1.0, 0.5, 2.0)
    # 1 + 3 * (0.5 * 4 * 2 + 2) = 19
    assert fit.at(4, 2, 3) == 19
    rows = [Measurement(4, 2, 3, 20.0), Measurement(4, 2, 3, 10.0)]
    assert relative_errors(fit, rows) == pytest.approx([0.05, 0.9])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        measured(1, 1, 1)[:2],
        # one size: pixels and images rise together
        measured(1, 1, 1)[:3],
        # one batch size at each: whose cost rises with the pixels alone
        measured(1, 1, 1, batch_sizes=(8,)),
        # the pixel budget: images of 96, 192 and 384 pixels a side, b * h * w alike
        [Measurement(s, s, 147456 // s**2, 1.0 + 1 / s) for s in (96, 192, 384)],
    ],
)
def test_measurements_that_tell_nothing_apart(rows):
    with pytest.raises(ValueError, match="at least two sizes"):
        fit_cost(rows)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_values_must_be_positive(value):
    with pytest.raises(ValueError, match="positive"):
        fit_cost([*measured(1, 1, 1), Measurement(96, 96, 1, value)])
