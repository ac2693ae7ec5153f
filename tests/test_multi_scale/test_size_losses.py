"""Losses at a small size: the counts in all processes, and the error."""

import json

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.runner import Runner
from size_loss_toys import LARGE, LOADER, SMALL, config

from mms_plugin.multi_scale import MultiScaleDataset, sized_index_class
from mms_plugin.multi_scale.size_losses import LossTally, SizeLosses
from mms_plugin.utils.setting_error import SettingError


@pytest.mark.parametrize(
    "workers, method, persistent",
    [(0, None, False), (2, "fork", False), (2, "fork", True), (2, "spawn", True)],
)
def test_counts_come_from_all_workers(workers, method, persistent):
    loader = dict(LOADER, num_workers=workers, persistent_workers=persistent)
    loader["dataset"] = dict(type="MultiScaleDataset", dataset=config())
    if method:
        loader["multiprocessing_context"] = method
    loader = Runner.build_dataloader(loader, seed=1)
    given = {SMALL: 0, LARGE: 0}
    odd = []
    for epoch in range(2):
        loader.batch_sampler.set_epoch(epoch)
        for batch in loader:
            size = tuple(batch["inputs"].shape[2:])
            given[size] += len(batch["i"])
            odd += batch["i"].tolist() if size == SMALL else []
    assert all(i % 2 for i in odd) and min(given.values()) > 0
    losses = loader.dataset.size_losses()
    small, large = losses[SMALL], losses[LARGE]
    assert list(losses) == [SMALL, LARGE]
    # 3 px at a quarter are 0.75 px; of what was loaded, what was not given was
    # replaced; replaced images have one box, the others two.
    assert small.replaced > 0 and small.images - small.replaced == given[SMALL]
    assert small.boxes == small.replaced + 2 * given[SMALL]
    assert small.boxes_lost == small.images and small.emptied == 0
    assert (large.images, large.replaced, large.boxes_lost) == (given[LARGE], 0, 0)


def test_images_that_stay_without_objects():
    dataset = MultiScaleDataset(config(keep_empty=True))
    for i in range(20):
        assert dataset[sized_index_class(SMALL)(i)]["i"] == i
    assert dataset.size_losses() == {SMALL: SizeLosses(20, 0, 10, 30, 20)}


def test_a_size_that_leaves_nothing_is_named_and_no_file_is_blamed():
    dataset = MultiScaleDataset(config(indices=list(range(0, 20, 2)), max_refetch=30))
    with pytest.raises(SettingError) as caught:
        dataset[sized_index_class(SMALL)(3)]
    text = str(caught.value)
    for part in ("(64, 64)", "31 of 31 images", "100.0%", "min_box_side=1 ",
                 "filter_empty_gt=False"):  # fmt: skip
        assert part in text
    assert "image path" not in text and "/pictures" not in text
    assert dataset[sized_index_class(LARGE)(3)]["i"] == 6


def test_a_pipeline_that_drops_every_sample():
    @TRANSFORMS.register_module(force=True)
    class DropAll:
        def __call__(self, results):
            return None

    cfg = config(max_refetch=4)
    cfg["pipeline"].insert(2, dict(type="DropAll"))
    with pytest.raises(SettingError, match="pipeline must give samples at every size"):
        MultiScaleDataset(cfg)[sized_index_class(LARGE)(1)]


def test_more_sizes_than_rows_are_left_out():
    tally = LossTally()
    for side in range(1, 100):
        tally.add((side, side), SizeLosses(images=1))
    assert len(tally.totals()) == 64


def test_detectors_images_from_files(tmp_path):
    """mmdet's dataset and transforms, in which 3 px objects of 256 px images go."""
    pytest.importorskip("mmdet")
    cv2 = pytest.importorskip("cv2")
    from mmdet.utils import register_all_modules

    images, annotations = [], []
    for i in range(4):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((256, 256, 3), 99, np.uint8))
        images.append(dict(id=i, file_name=f"{i}.png", height=256, width=256))
        for side in (3, 3, 100)[: 2 + i % 2]:
            annotations.append(
                dict(id=len(annotations) + 1, image_id=i, category_id=1, iscrowd=0,
                     area=side * side, bbox=[20, 20, side, side], segmentation=[])
            )  # fmt: skip
    document = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=1, name="dot")],
    )
    (tmp_path / "a.json").write_text(json.dumps(document))
    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope("mmdet"):
        dataset = MultiScaleDataset(
            dict(
                type="CocoDataset",
                data_root=str(tmp_path),
                ann_file="a.json",
                data_prefix=dict(img=""),
                metainfo=dict(classes=("dot",)),
                filter_cfg=dict(filter_empty_gt=True),
                pipeline=[
                    dict(type="LoadImageFromFile"),
                    dict(type="LoadAnnotations", with_bbox=True),
                    dict(
                        type="MultiScaleTransform",
                        transform=dict(type="Resize", keep_ratio=True),
                    ),
                    dict(type="PackDetInputs"),
                ],
            )
        )
        np.random.seed(0)
        for i in range(4):
            sample = dataset[sized_index_class(SMALL)(i)]
            assert len(sample["data_samples"].gt_instances) == 1
    losses = dataset.size_losses()[SMALL]
    assert losses.images == 4 + losses.replaced and losses.replaced >= 2
    assert losses.boxes_lost == 2 * losses.images
    assert losses.boxes == losses.boxes_lost + 4
