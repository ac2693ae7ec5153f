"""docs/recipes.md shows what the recipes print today."""

import re
from pathlib import Path

import pytest
from mmengine.hub import get_config

from mms_plugin.recipes import apply_recipes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "recipes.md").read_text()
BLOCKS = re.findall(r"^```\n(--recipe .*?)^```", PAGE, flags=re.M | re.S)
MASK_RCNN = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
FASTER_RCNN = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"


@pytest.mark.parametrize(
    "number, path, recipe, options, whole",
    [
        (0, MASK_RCNN, "vbs-cur", {}, True),
        (1, MASK_RCNN, "vbs-cur", dict(budget=0.65), False),
        (2, MASK_RCNN, "vbs-cur", dict(cost_model="flops"), False),
        (3, FASTER_RCNN, "agvm", dict(batch_size=256, world_size=8), True),
    ],
)
def test_lines_of_a_recipe(number, path, recipe, options, whole):
    pytest.importorskip("mmdet")
    printed = []

    def note(name, line):
        printed.append(f"--recipe {name}: {line}")

    apply_recipes(get_config(path), recipe, options, note)
    documented = BLOCKS[number].splitlines()
    if whole:
        assert printed == documented
    else:
        assert [line for line in printed if line in documented] == documented


def test_every_block_is_compared():
    assert len(BLOCKS) == 4


@pytest.mark.parametrize(
    "path, extra",
    [
        ("mmdet::retinanet/retinanet_r50_fpn_1x_coco.py", "8,220"),
        ("mmpretrain::resnet/resnet50_8xb32_in1k.py", "25.4"),
    ],
)
def test_what_an_image_costs_more(path, extra):
    pytest.importorskip(path.split("::")[0])
    printed = []

    def note(_, line):
        printed.append(line)

    apply_recipes(get_config(path), "vbs-cur", dict(cost_model="flops"), note)
    line = next(line for line in printed if line.startswith("cost_model: "))
    assert f"as much as {extra} pixels more" in line
    assert extra in PAGE
