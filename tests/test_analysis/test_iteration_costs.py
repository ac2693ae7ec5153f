import json
import random

import pytest

from mms_plugin.analysis import (
    CostFit,
    IterationCosts,
    Measurement,
    batch_sizes_to_measure,
    epoch_time,
    fill_batch_sizes,
    fitting_batch_sizes,
    level_batch_sizes,
    load_times,
    read_times,
)
from mms_plugin.multi_scale import CostModel, cost_model_batch_size

FIT = CostFit(overhead=1.0, alpha=0.01, beta=2.0)


def exact(sides, batch_sizes=(2, 5, 9), fit=FIT):
    return [
        Measurement(side, side, batch, fit.at(side, side, batch))
        for side in sides
        for batch in batch_sizes
    ]


def test_costs_of_measured_sizes_are_theirs_and_of_others_the_fits():
    rows = exact((10, 20, 30))
    # At 20 an image costs twice what the fit says.
    rows = [
        m._replace(value=1 + m.batch_size * 12) if m.height == 20 else m for m in rows
    ]
    costs = IterationCosts(FIT, rows)
    assert costs.at(20, 20, 4) == pytest.approx(49)
    assert costs.at(10, 10, 4) == pytest.approx(1 + 4 * 3)
    assert costs.at(40, 40, 4) == pytest.approx(1 + 4 * 18)
    fitted = IterationCosts.of(exact((10, 20, 30)))
    assert fitted.fit == pytest.approx(FIT)


def test_conservative_takes_the_dearest_image():
    rows = [Measurement(10, 10, 2, 1 + 2 * 3.0), Measurement(10, 10, 8, 1 + 8 * 5.0)]
    assert IterationCosts(FIT, rows, conservative=True).at(10, 10, 1) == 6
    assert 4 < IterationCosts(FIT, rows).at(10, 10, 1) < 6


def test_largest_batch_by_trying():
    costs = IterationCosts(FIT, exact((10, 20)))
    for side in (10, 20, 25):
        for budget in (0.5, 3, 3.99, 4.0, 7, 25, 31, 100.1):
            images = 0
            while costs.at(side, side, images + 1) <= budget + 1e-6:
                images += 1
            assert costs.largest_batch((side, side), budget) == images


def test_level_table_of_an_exact_model_is_the_cost_models():
    sides = (10, 14, 20, 26, 30)
    costs = IterationCosts.of(exact(sides))
    table = level_batch_sizes(costs, 8, (20, 20), [(s, s) for s in sides])
    model = CostModel(1, 200)  # beta / alpha of FIT
    assert (
        table
        == [cost_model_batch_size(8, (20, 20), (s, s), model) for s in sides]
        == [16, 12, 8, 5, 4]
    )


def test_level_table_keeps_the_base_and_has_an_image_everywhere():
    costs = IterationCosts.of(exact((10, 20, 200)))
    table = level_batch_sizes(costs, 2, (20, 20), [(20, 20), (200, 200)])
    assert table == [2, 1]


@pytest.mark.parametrize("seed", range(20))
def test_times_that_do_not_depend_on_the_images(seed):
    """A device that waits for Python: no crash, and the pixel budget if in doubt."""
    noise = random.Random(seed)
    sides = (10, 14, 20, 26, 30)
    pixels = [8 * 20 * 20 // (side * side) for side in sides]
    rows = [
        Measurement(side, side, images, 0.02 * (1 + noise.uniform(-0.05, 0.05)))
        for side, most in zip(sides, pixels)
        for images in batch_sizes_to_measure(8, most)
    ]
    costs = IterationCosts.of(rows)
    table = level_batch_sizes(costs, 8, (20, 20), [(s, s) for s in sides])
    assert table[2] == 8
    for side, images, budget in zip(sides, table, pixels):
        if not costs.grows_with_images((side, side)):
            assert images == budget
            with pytest.raises(ValueError, match="cost no more with more images"):
                costs.largest_batch((side, side), 1.0)


def test_fill_table():
    fit = CostFit(overhead=1e9, alpha=1e3, beta=1e6)
    sides = (100, 200)
    costs = IterationCosts(fit, exact(sides, fit=fit))
    # 3 GB left: images of 11 MB and of 41 MB
    assert fill_batch_sizes(costs, 4e9, [(s, s) for s in sides]) == [272, 73]
    with pytest.raises(ValueError, match="no image of 200x200 fits into 1.04 GB"):
        fill_batch_sizes(costs, 1.04e9, [(s, s) for s in sides])


@pytest.mark.parametrize(
    "base, pixel, expected",
    [
        (8, 32, [8, 16, 32]),
        (8, 4, [4, 6, 8]),
        (8, 8, [4, 8]),
        (8, 6, [3, 6, 7, 8]),
        (2, 1, [1, 2]),
        (1, 1, [1, 2]),
        (4, 1, [1, 2, 4]),
    ],
)
def test_batch_sizes_to_measure(base, pixel, expected):
    assert batch_sizes_to_measure(base, pixel) == expected


def test_epoch_time_by_hand():
    costs = IterationCosts(FIT, exact((10, 20)))
    # An iteration of 8 images of 10: 1 + 8 * 3 = 25; of 4 of 20: 1 + 4 * 6 = 25.
    # One of the first in four, so 5 images an iteration.
    cost = epoch_time(costs, [(10, 10), (20, 20)], [8, 4], [1, 3], 1000)
    assert cost == pytest.approx((200, 5000, 25))
    # A size that is never drawn is never the slowest.
    cost = epoch_time(costs, [(10, 10), (20, 20)], [8, 400], [1, 0], 1000)
    assert cost == pytest.approx((125, 3125, 25))


def test_read_times():
    document = dict(
        device="cpu",
        cost_model=dict(overhead=1.0, alpha=0.01, beta=2.0),
        sizes=[
            dict(height=20, width=20, batch_sizes=[2, 4, 8], seconds=[25, 49, None]),
            dict(height=10, width=30, batch_sizes=[1], seconds=[4]),
        ],
    )
    costs = read_times(document)
    assert costs.at(20, 20, 8) == pytest.approx(97)
    assert costs.at(10, 30, 2) == pytest.approx(7)
    assert costs.at(10, 10, 2) == pytest.approx(7)


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(sizes=None), "sizes and cost_model"),
        (dict(cost_model=None), "sizes and cost_model"),
        (dict(cost_model=dict(alpha=1.0)), "overhead"),
        (dict(cost_model=dict(overhead=0, alpha=0, beta=0)), "not all zero"),
        (dict(cost_model=dict(overhead=0, alpha=-1, beta=0)), "not negative"),
        (dict(sizes=[dict(height=2)]), "batch_sizes"),
        (
            dict(sizes=[dict(height=2, width=2, batch_sizes=["x"], seconds=[1])]),
            "ValueError",
        ),
    ],
)
def test_what_is_no_table_of_times(change, says):
    document = dict(cost_model=dict(overhead=1, alpha=1, beta=1), sizes=[])
    with pytest.raises(ValueError) as error:
        read_times({**document, **change})
    assert says in str(error.value)


def test_load_times(tmp_path):
    path = tmp_path / "times.json"
    document = dict(cost_model=dict(overhead=1, alpha=2, beta=0), sizes=[], clock="cpu")
    path.write_text(json.dumps(document))
    costs, found = load_times(path)
    assert costs.at(2, 3, 4) == pytest.approx(1 + 4 * 2 * 6)
    assert found == document
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError):
        load_times(path)
    with pytest.raises(OSError):
        load_times(tmp_path / "missing.json")
    with pytest.raises(ValueError, match="but got 3"):
        load_times(3)


def test_batch_sizes_stay_below_those_that_did_not_fit():
    fits = {
        (10, 10): {4: True, 8: True, 16: False, 32: False},
        (20, 20): {2: True, 4: True},
    }
    sizes = [(10, 10), (20, 20), (30, 30)]
    assert fitting_batch_sizes([15, 9, 3], sizes, fits) == [15, 9, 3]
    assert fitting_batch_sizes([16, 9, 3], sizes, fits) == [8, 9, 3]
    assert fitting_batch_sizes([40, 9, 3], sizes, fits) == [8, 9, 3]
    with pytest.raises(ValueError, match="4 images of 20x20 do not fit"):
        fitting_batch_sizes([1, 5], sizes[:2], {(20, 20): {4: False, 8: False}})
