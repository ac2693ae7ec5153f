"""The picture of the sizes of the demo's trainings."""

import cv2
import numpy as np
import pytest

pytest.importorskip("matplotlib")

from tools.demo.plan_picture import draw_plans


def count_blue(path):
    image = cv2.imread(str(path)).astype(int)
    return int((abs(image - np.array((0xB2, 0x72, 0x00))).max(axis=2) < 40).sum())


def test_each_plan_has_a_panel(tmp_path):
    plan = [(32, 32, 8), (64, 64, 2)] * 20
    paths = [tmp_path / "one.png", tmp_path / "two.png"]
    draw_plans({"one": plan}, paths[0])
    draw_plans({"one": plan, "two": plan}, paths[1])
    one, two = (cv2.imread(str(path)) for path in paths)
    assert two.shape[0] > one.shape[0]
    assert two.shape[1] == one.shape[1]
    # The second series' blue is in the second picture alone.
    assert count_blue(paths[0]) == 0
    assert count_blue(paths[1]) > 20
