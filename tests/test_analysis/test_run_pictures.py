"""Pictures of what trainings logged: files that hold what they were given."""

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from mms_plugin.analysis import run_pictures as pictures

BLACK, BLUE, ORANGE = (0, 0, 0), (0xB2, 0x72, 0x00), (0x00, 0x5E, 0xD5)


def count_color(path, bgr, tolerance=30):
    image = cv2.imread(str(path)).astype(int)
    return int((abs(image - np.array(bgr)).max(axis=2) < tolerance).sum())


def test_thinned_points_are_means():
    points = [(float(x), float(x % 2)) for x in range(1000)]
    points[0] = (0.0, float("nan"))
    thin = pictures.thinned(points, most=100)
    assert len(thin) == 100
    assert thin[1] == (14.5, 0.5)
    assert thin[0] == (4.5, 5 / 9)  # without the nan
    assert pictures.thinned(points[:100], most=100)[1:] == points[1:100]


@pytest.mark.parametrize("iterations", [200, 5000])
def test_sizes_as_dots_or_as_shades(tmp_path, iterations):
    plan = [(32, 32, 8), (64, 64, 2)] * (iterations // 2)
    path = tmp_path / "sizes.png"
    pictures.draw_sizes({"one": plan}, path)
    assert count_color(path, ORANGE) > 200  # the mean
    image = cv2.imread(str(path)).astype(int)
    bluish = (image[..., 0] - image[..., 2] > 40).sum()
    assert bluish > 1000


def test_a_row_for_each_training(tmp_path):
    plan = [(32, 48, 8)] * 9
    pictures.draw_sizes({"one": plan}, tmp_path / "one.png")
    mixture = (9, [((32, 32, 8), 0.5), ((64, 64, 2), 0.5)])
    pictures.draw_sizes(
        {"one": plan, "two": [], "three": []},
        tmp_path / "three.png",
        {"two": mixture},
        {"three": "unknown"},
    )
    one, three = (cv2.imread(str(tmp_path / f"{n}.png")) for n in ("one", "three"))
    assert three.shape[0] > 2 * one.shape[0]
    with pytest.raises(ValueError, match="at least one training"):
        pictures.draw_sizes({}, tmp_path / "none.png")


def test_a_plan_begins_after_the_missing_iterations(tmp_path):
    """The last 20 of 200 iterations lie at the right of the panel."""
    plan = [(32, 32, 8), (64, 64, 2)] * 100
    path = tmp_path / "sizes.png"
    plans = {"whole": plan, "part": plan[:20]}
    pictures.draw_sizes(plans, path, missing={"part": 180})
    image = cv2.imread(str(path)).astype(int)
    height, width = image.shape[:2]
    lower_left = image[height // 2 :, : width // 2]
    mean = abs(lower_left - np.array(ORANGE)).max(axis=2) < 30
    assert mean.any()
    assert np.argwhere(mean)[:, 1].min() > 0.8 * lower_left.shape[1]


def test_each_training_has_its_color(tmp_path):
    path = tmp_path / "losses.png"
    line = [(0, 0.0), (10, 1.0)]
    pictures.draw_losses({"loss": {"a": line}}, path)
    assert count_color(path, BLUE) == 0
    pictures.draw_losses({"loss": {"a": [], "b": line}, "lr": {"a": line}}, path)
    assert count_color(path, BLUE) > 200
    with pytest.raises(ValueError, match="at least one panel"):
        pictures.draw_losses({}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["losses.png"]


def test_metrics_with_what_is_not_a_number(tmp_path):
    path = tmp_path / "metrics.png"
    nan = float("nan")
    curve = pictures.MetricCurve([1, 2, 3], [nan, nan, nan], [0.1, nan, 0.3])
    other = pictures.MetricCurve([1, 2, 3], [1e3, 2e3, 3e3], [0.2, 0.3, 0.4])
    pictures.draw_metrics({"mAP": {"a": curve, "b": other}}, path, "epoch", "TFLOPs")
    assert count_color(path, BLUE) > 200
    with pytest.raises(ValueError, match="at least one metric"):
        pictures.draw_metrics({}, path, "epoch", "TFLOPs")


def test_seven_modules_are_told_apart(tmp_path):
    """By color; beyond seven by line and marker too."""
    styles = [pictures._style(number, marks=True) for number in range(14)]
    assert len({style["color"] for style in styles[:7]}) == 7
    keys = ("color", "linestyle", "marker")
    assert len({tuple(style[key] for key in keys) for style in styles}) == 14
    path = tmp_path / "agvm.png"
    steps = range(10, 400, 10)
    curves = {
        f"{kind}/module{n}": [(step, scale * (n + 1) / 2) for step in steps]
        for n in range(7)
        for kind, scale in (("mu", 1.0), ("phi", 0.1))
    }
    pictures.draw_agvm({"run": curves}, path)
    assert count_color(path, BLUE) > 200
    with pytest.raises(ValueError, match="at least one training"):
        pictures.draw_agvm({"run": {}}, path)
