"""What a recipe's smallest size takes, by annotations of real records."""

import json

import numpy as np
import pytest

from mms_plugin.recipes import apply_recipes
from mms_plugin.recipes.annotations import AnnotatedBoxes, annotated_boxes, lost_shares

pytest.importorskip("mmdet")


@pytest.fixture
def dataset(tmp_path):
    """Two images of 256 x 512, one of 256 x 256: boxes of 3 px and of 100 px."""
    sides = [(256, 512), (256, 512), (256, 256)]
    boxes = [(0, 3), (0, 100), (1, 3), (1, 3), (2, 3)]
    document = dict(
        images=[
            dict(id=i, file_name=f"{i}.png", height=h, width=w)
            for i, (h, w) in enumerate(sides)
        ],
        annotations=[
            dict(id=n + 1, image_id=i, category_id=1, iscrowd=0, area=side * side,
                 bbox=[5, 5, side, side], segmentation=[])
            for n, (i, side) in enumerate(boxes)
        ],
        categories=[dict(id=1, name="dot")],
    )  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(document))
    return dict(
        type="CocoDataset",
        data_root=str(tmp_path),
        ann_file="a.json",
        data_prefix=dict(img=""),
        metainfo=dict(classes=("dot",)),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="Resize", scale=(256, 256), keep_ratio=True),
            dict(type="PackDetInputs"),
        ],
    )


def test_shares(dataset):
    found = annotated_boxes(dataset, "mmdet")
    assert found.sides.tolist() == [[3, 3], [100, 100], [3, 3], [3, 3], [3, 3]]
    # At 128 within the bounds: 512 becomes 128, 3 px 0.75; in the square one 1.5.
    assert lost_shares(found, (128, 128), True) == (3 / 5, pytest.approx(1 / 3))
    # Each side by itself: 3 px are 1.5 high and 0.75 wide.
    assert lost_shares(found, (128, 128), False) == (3 / 5, pytest.approx(1 / 3))
    assert lost_shares(found, (64, 64), True) == (4 / 5, pytest.approx(2 / 3))
    assert lost_shares(found, (256, 512), True) == (0, 0)
    assert lost_shares(found, (64, 64), True, min_box_side=0) == (0, 0)
    nested = dict(
        type="RepeatDataset",
        times=3,
        dataset=dict(type="ConcatDataset", datasets=[dataset, dataset]),
    )
    twice = annotated_boxes(nested, "mmdet")
    assert len(twice.sides) == 10 and len(np.unique(twice.image_numbers)) == 6


def test_nothing_to_read(dataset):
    assert annotated_boxes(dict(dataset, ann_file="b.json"), "mmdet") is None
    assert annotated_boxes(dict(type="CustomDataset", data_root="x")) is None
    empty = AnnotatedBoxes(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    assert lost_shares(empty, (64, 64), True) == (0, 0)


def told(dataset, **options):
    config = dict(
        default_scope="mmdet",
        train_dataloader=dict(
            batch_size=2,
            sampler=dict(type="DefaultSampler", shuffle=True),
            dataset=dataset,
        ),
    )
    lines = []
    apply_recipes(config, "vbs", options, lambda name, line: lines.append(line))
    return [line for line in lines if line.startswith("warning")]


def test_the_recipe_tells(dataset):
    (line,) = told(dataset, sizes=[64, 128, 256, 512])
    assert line == (
        "warning: at 64x64, the smallest size, 80.0% of the annotated boxes become "
        "smaller than min_box_side=1 pixels, and 66.7% of the images lose all of "
        "theirs; less than 1 % of the boxes are lost from 256x256 on"
    )
    (line,) = told(dataset, sizes=[64, 128])
    assert line.endswith("theirs; every size loses 1 % of the boxes or more")
    assert told(dataset, sizes=[256, 320]) == []
    assert told(dict(dataset, ann_file="absent.json"), sizes=[64, 256]) == []
