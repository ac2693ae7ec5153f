import numpy as np
import pytest

from mms_plugin.evaluation.calibration import make_bins
from mms_plugin.evaluation.conditions import summarize

pytest.importorskip("matplotlib")

from mms_plugin.analysis.evaluation_pictures import draw_evaluation, draw_reliability


def pixels(path):
    from matplotlib.image import imread

    assert [item.name for item in path.parent.iterdir()] == [path.name]
    picture = imread(path)
    path.unlink()
    return picture


@pytest.mark.parametrize("binning", ["equal_width", "equal_mass"])
def test_reliability(tmp_path, binning):
    """Of the gap's color there is none where the model is calibrated."""

    def gap_pixels(accuracy):
        confidences = [0.25] * 100 + [0.75] * 100
        correct = [n < 100 * p for p in accuracy for n in range(100)]
        bins = make_bins(confidences, correct, 4, binning)
        draw_reliability(bins, tmp_path / "r.png", "Title", {"ECE (%)": 1.0})
        picture = pixels(tmp_path / "r.png")[..., :3]
        vermilion = np.array([0xD5, 0x5E, 0x00]) / 255
        return (np.abs(picture - vermilion).max(-1) < 0.02).sum()

    good, bad = gap_pixels((0.25, 0.75)), gap_pixels((0.05, 0.2))
    assert bad > good + (1000 if binning == "equal_width" else 100)


def result(checkpoint, size, value, corruption=None, severity=None):
    return dict(
        checkpoint=checkpoint,
        size=size,
        corruption=corruption,
        severity=severity,
        metrics={"m": value},
    )


def test_a_missing_value_is_not_drawn_as_zero(tmp_path):
    def picture(value):
        report = summarize([result("a", None, 5.0), result("b", None, value)], "m")
        draw_evaluation(report, {"a": "first", "b": "second"}, tmp_path / "e.png")
        return pixels(tmp_path / "e.png")

    assert not np.array_equal(picture(None), picture(0.0))


@pytest.mark.parametrize(
    "results",
    [
        [result("a", 64, 0.1), result("a", 32, 0.2), result("b", 64, 0.3)],
        [result("a", None, 0.1), result("b", None, None)],
        [
            result("a", None, 50.0),
            result("a", None, 40.0, "fog", 1),
            result("b", None, 30.0, "fog", 5),
        ],
    ],
)
def test_evaluation(tmp_path, results):
    report = summarize(results, "m")
    draw_evaluation(report, {"a": "first", "b": "second"}, tmp_path / "e.png")
    picture = pixels(tmp_path / "e.png")[..., :3]
    assert min(picture.shape[:2]) > 200
    assert 0.01 < (picture.min(-1) < 0.9).mean() < 0.6
