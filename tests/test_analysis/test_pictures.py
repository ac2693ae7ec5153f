"""Pictures: files that can be read and hold what they were given."""

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from mms_plugin.analysis import pictures


def count_color(path, bgr, tolerance=40):
    image = cv2.imread(str(path)).astype(int)
    return int((abs(image - np.array(bgr)).max(axis=2) < tolerance).sum())


def test_every_line_is_drawn(tmp_path):
    path = tmp_path / "lines.png"
    series = {"a": [(0, 0), (1, 1)], "b": [(0, 1), (1, 0)], "none yet": []}
    pictures.draw_lines(series, path, "t", "x (px)", "y (%)")
    assert count_color(path, (0, 0, 0)) > 500
    assert count_color(path, (0xB2, 0x72, 0x00)) > 200


def test_a_line_has_one_color_in_all_panels(tmp_path):
    line = [(x, x) for x in range(100)]
    blue = (0xB2, 0x72, 0x00)
    panels = {"p": {"a": line, "b": line[::-1]}, "q": {"b": [(0, 1), (50, 0)]}}
    pictures.draw_line_panels(panels, tmp_path / "two.png", "t", "x")
    picture = cv2.imread(str(tmp_path / "two.png")).astype(int)
    half = picture.shape[1] // 2
    is_blue = abs(picture - np.array(blue)).max(axis=2) < 40
    assert is_blue[:, :half].sum() > 100
    # The right panel has the second line alone, and no black line.
    assert is_blue[:, half:].sum() > 100
    pictures.draw_line_panels({"q": panels["q"]}, tmp_path / "one.png", "t", "x")
    assert count_color(tmp_path / "one.png", blue) == 0  # there it is the first
    with pytest.raises(ValueError, match="at least one panel"):
        pictures.draw_line_panels({}, tmp_path / "none.png", "t", "x")


def test_contact_sheet_shows_the_images_to_scale(tmp_path):
    red = np.zeros((3, 40, 40, 3), np.uint8)
    red[..., 0] = 255
    green = np.zeros((12, 80, 80, 3), np.uint8)
    green[..., 1] = 255
    path = tmp_path / "sheet.png"
    pictures.draw_contact_sheet([red, green], path, "t", columns=6)
    reds = count_color(path, (0, 0, 255))
    greens = count_color(path, (0, 255, 0))
    # 3 images of a quarter of the area against the first 6 of 12.
    assert reds > 1000
    assert greens / reds == pytest.approx(8, rel=0.15)
    with pytest.raises(ValueError, match="at least one batch"):
        pictures.draw_contact_sheet([], path, "t")


def test_contact_sheet_takes_captions(tmp_path):
    batch = np.zeros((2, 20, 20, 3), np.uint8)
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    pictures.draw_contact_sheet([batch], one, "t", captions=["an arm"])
    pictures.draw_contact_sheet([batch], two, "t")
    assert one.read_bytes() != two.read_bytes()
    with pytest.raises(ValueError, match="one for each of 1 batches"):
        pictures.draw_contact_sheet([batch], one, "t", captions=["a", "b"])


def test_nothing_is_left_beside(tmp_path):
    pictures.draw_lines({"a": [(0, 0)]}, tmp_path / "a.png", "t", "x", "y")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_costs_over_the_epochs(tmp_path):
    path = tmp_path / "costs.png"
    pictures.draw_costs(
        {"ours": [(32, 40, 48), (32, 44, 64)], "baseline": [(64, 64, 64)] * 3},
        {"ours": [1.0, 2.0], "baseline": [3.0] * 3},
        path,
        "What it costs",
        "PFLOPs",
    )
    # Both trainings in their colors: the shading is the first one's alone.
    assert count_color(path, (0, 0, 0)) > 500
    assert count_color(path, (0xB2, 0x72, 0x00)) > 500
    assert count_color(path, (0xCC, 0xCC, 0xCC), 4) > 5000
    assert [file.name for file in tmp_path.iterdir()] == ["costs.png"]
