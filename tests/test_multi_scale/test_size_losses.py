"""What a small size takes: counts in all processes, the log, the error."""

import json
import logging

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.runner import Runner

from mms_plugin.multi_scale import MultiScaleDataset, sized_index_class
from mms_plugin.multi_scale.size_loss_log import loss_lines
from mms_plugin.multi_scale.size_losses import LossTally, SizeLosses
from mms_plugin.utils.setting_error import SettingError

SMALL, LARGE = (64, 64), (128, 128)


@TRANSFORMS.register_module()
class PlaceBoxes:
    """Boxes of a 256 px image: one of 3 px, and in odd samples one of 100 px."""

    def __call__(self, results):
        boxes = [[10, 10, 13, 13]] + [[50, 50, 150, 150]] * (results["i"] % 2)
        results["gt_bboxes"] = np.array(boxes, np.float32)
        results["img_path"] = f"/pictures/{results['i']}.png"
        results["img"] = np.zeros((256, 256, 3), np.float32)
        return results


@TRANSFORMS.register_module()
class ScaleBoxes:
    """As a Resize does."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, results):
        width, height = self.scale
        results["gt_bboxes"] = results["gt_bboxes"] * np.float32(width / 256)
        results["img"] = np.zeros((height, width, 3), np.float32)
        return results


def config(keep_empty=False, indices=None, **kwargs):
    return dict(
        type="ToyDataset",
        num=20,
        indices=indices,
        filter_cfg=dict(filter_empty_gt=not keep_empty),
        pipeline=[
            dict(type="PlaceBoxes"),
            dict(type="MultiScaleTransform", transform=dict(type="ScaleBoxes")),
            dict(type="CollectToy"),
        ],
        **kwargs,
    )


LOADER = dict(
    batch_size=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(
        type="MultiScaleVariableBatchSampler", base_size=128, sizes=[64, 128]
    ),
    collate_fn=dict(type="default_collate"),
)


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


@pytest.mark.parametrize("loop", ["epochs", "iterations", "endless"])
def test_the_log_says_it_once_an_epoch(make_runner, loop):
    loader = dict(LOADER, num_workers=2, persistent_workers=True)
    loader["dataset"] = dict(type="MultiScaleDataset", dataset=config())
    train_cfg = dict(by_epoch=True, max_epochs=2)
    if loop != "epochs":
        train_cfg = dict(by_epoch=False, max_iters=12)
    if loop == "endless":
        loader["sampler"] = dict(type="InfiniteSampler", shuffle=True)
    runner = make_runner(
        train_dataloader=loader,
        train_cfg=train_cfg,
        custom_hooks=[dict(type="ResolutionCurriculumHook", schedule="constant")],
        log_level="INFO",
    )
    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.train()
    lines = [line for line in told if "at 64x64" in line]
    assert lines and not [line for line in told if "at 128x128 " in line]
    assert all("replaced by others" in line and "boxes" in line for line in lines)
    if loop == "epochs":
        assert [line.split(":")[0] for line in lines] == ["Epoch 1", "Epoch 2"]
        # All of both epochs, each counted once.
        total = runner.train_loop.dataloader.dataset.size_losses()[SMALL]
        counts = [int(line.split("at 64x64 ")[1].split(" of ")[0]) for line in lines]
        assert sum(counts) == total.replaced
    else:
        assert 1 < len(lines) < 12


def test_lines_warn_of_many_images():
    few, many = SizeLosses(100, 1, 0, 200, 5), SizeLosses(100, 11, 0, 200, 20)
    lines = loss_lines({SMALL: many, LARGE: few, (9, 9): SizeLosses(7, 0, 0, 9, 0)})
    assert [level for _, level in lines] == [logging.WARNING, logging.INFO]
    assert lines[0][0] == (
        "at 64x64 11 of 100 images (11.0%) were replaced by others, no object being "
        "left, 20 of 200 boxes (10.0%) were too small"
    )


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
