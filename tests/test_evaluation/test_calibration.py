"""Bins and errors against torchmetrics, brute force and arithmetic by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mms_plugin.evaluation.calibration import assign_bins, calibration_error, make_bins

NORMS = ["l1", "l2", "max"]


def test_by_hand():
    """Ten samples, two bins in use: gaps 0.9 - 5/6 and 0.3 - 3/4."""
    confidences = [0.9] * 6 + [0.3] * 4
    correct = [1, 1, 1, 1, 1, 0] + [1, 1, 1, 0]
    bins = make_bins(confidences, correct, num_bins=5)
    assert [item.count for item in bins] == [0, 4, 0, 0, 6]
    assert bins[4].gap == pytest.approx(0.9 - 5 / 6)
    assert bins[1].gap == pytest.approx(0.3 - 0.75)
    assert (bins[0].confidence, bins[0].accuracy, bins[0].gap) == (None, None, 0)
    a, b = 0.9 - 5 / 6, 0.45
    assert calibration_error(bins, "l1") == pytest.approx(0.6 * a + 0.4 * b)
    expected = math.sqrt(0.6 * a * a + 0.4 * b * b)
    assert calibration_error(bins, "l2") == pytest.approx(expected)
    assert calibration_error(bins, "max") == pytest.approx(0.45)
    assert bins[1].to_dict() == {
        "lower": pytest.approx(0.2), "upper": pytest.approx(0.4), "count": 4,
        "confidence": pytest.approx(0.3), "accuracy": 0.75, "gap": pytest.approx(-0.45),
    }  # fmt: skip


@pytest.mark.parametrize("num_bins", [1, 3, 7, 10, 15, 100])
def test_a_confidence_on_an_edge_opens_the_bin_above(num_bins):
    edges = np.arange(num_bins + 1) / num_bins
    expected = [*range(num_bins), num_bins - 1]  # 1 has no bin of its own
    for dtype in (np.float32, np.float64):
        values = edges.astype(dtype)
        assert assign_bins(values, num_bins).tolist() == expected
    below = np.nextafter(edges[1:].astype(np.float32), np.float32(0))
    assert assign_bins(below, num_bins).tolist() == list(range(num_bins))


@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.floats(0, 1, width=32)),
    st.integers(1, 20),
)
def test_equal_width_is_what_fractions_say(values, num_bins):
    expected = []
    for value in values:
        edges = [Fraction(float(np.float32(i / num_bins))) for i in range(num_bins)]
        inside = [i for i, edge in enumerate(edges) if edge <= Fraction(float(value))]
        expected.append(inside[-1])
    assert assign_bins(values, num_bins).tolist() == expected


LOGITS = st.one_of(
    st.floats(-12, 12, width=32),
    # Ties, scores of exactly 0 and 1.
    st.sampled_from([0.0, 1.0, 120.0, -120.0]),
)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_agrees_with_torchmetrics(data):
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    samples = data.draw(st.integers(1, 40))
    classes = data.draw(st.integers(2, 6))
    num_bins = data.draw(st.integers(1, 30))
    logits = data.draw(hnp.arrays(np.float32, (samples, classes), elements=LOGITS))
    labels = data.draw(
        hnp.arrays(np.int64, samples, elements=st.integers(0, classes - 1))
    )
    scores = torch.from_numpy(logits).softmax(1)
    confidences, predicted = scores.max(1)
    # torchmetrics' edges are linspace's, a float32 step beside the fractions.
    distance = (confidences * num_bins - (confidences * num_bins).round()).abs()
    assume(bool(((distance > 1e-5) | (confidences == 1)).all()))
    correct = (predicted.numpy() == labels).tolist()
    bins = make_bins(confidences.tolist(), correct, num_bins)
    # torchmetrics has a bin of its own for a confidence of exactly 1.
    given_scores = scores.clamp(max=1 - 2**-24)
    for norm in NORMS:
        expected = torchmetrics.multiclass_calibration_error(
            given_scores, torch.from_numpy(labels), classes, num_bins, norm
        )
        found = calibration_error(bins, norm)
        assert found == pytest.approx(float(expected), abs=2e-5)
        assert 0 <= found <= 1


CONFIDENCES = hnp.arrays(
    np.float32,
    st.integers(1, 60),
    elements=st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 0.5, 1.0])),
)


@given(CONFIDENCES, st.integers(1, 20), st.randoms(use_true_random=False))
def test_equal_mass_by_brute_force(values, num_bins, random):
    ordered = sorted(values.tolist())
    expected = [
        math.floor(Fraction(num_bins * ordered.index(value), len(ordered)))
        for value in values.tolist()
    ]
    assert assign_bins(values, num_bins, "equal_mass").tolist() == expected
    # The order of the samples is that of the ranks: no matter.
    order = list(range(len(values)))
    random.shuffle(order)
    correct = np.arange(len(values)) % 3 == 0
    first = make_bins(values, correct, num_bins, "equal_mass")
    second = make_bins(values[order], correct[order], num_bins, "equal_mass")
    for norm in NORMS:
        assert calibration_error(first, norm) == pytest.approx(
            calibration_error(second, norm)
        )
    assert sum(item.count for item in first) == len(values)
    assert all(
        a.upper <= b.lower or a.count == 0 or b.count == 0
        for a, b in zip(first, first[1:])
    )


@pytest.mark.parametrize("count, num_bins", [(7, 3), (100, 15), (15, 15), (4, 9)])
def test_equal_mass_without_ties_is_an_even_split(count, num_bins):
    rng = np.random.default_rng(count)
    values = rng.permutation(count) / count
    correct = rng.random(count) < values
    bins = make_bins(values, correct, num_bins, "equal_mass")
    counts = [item.count for item in bins]
    assert max(counts) - min(counts) <= 1 and sum(counts) == count
    # The gaps of consecutive runs of the sorted samples.
    order = np.argsort(values)
    parts = np.split(order, np.cumsum(counts)[:-1])
    expected = sum(
        abs(values[part].mean() - correct[part].mean()) * len(part) / count
        for part in parts
        if len(part)
    )
    assert calibration_error(bins, "l1") == pytest.approx(expected)


def test_all_confidences_alike():
    bins = make_bins([0.5] * 9, [True] * 9, 4, "equal_mass")
    assert [item.count for item in bins] == [9, 0, 0, 0]
    assert calibration_error(bins, "max") == 0.5


def test_no_such_binning_and_no_such_norm():
    with pytest.raises(ValueError, match="binning must be one of.*'equal-width'"):
        make_bins([0.5], [True], 4, "equal-width")
    with pytest.raises(ValueError, match="norm must be one of.*'L1'"):
        calibration_error(make_bins([0.5], [True], 4), "L1")
