"""mmdet's detectors, narrowed to a ResNet-18 of 8 channels, trained at many sizes."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope, init_default_scope
from mmengine.runner import Runner

import mms_plugin
from mms_plugin.multi_scale import MultiScaleDataset, sized_index_class

mmcv = pytest.importorskip("mmcv")
pytest.importorskip("mmdet")
cv2 = pytest.importorskip("cv2")

ROOT = Path(mms_plugin.__file__).resolve().parents[1]
COCO_MINI = (
    Path(os.environ.get("MMS_DATA_ROOT", ROOT.parent / "shared" / "data")) / "coco_mini"
)
FILES = {
    "mask_rcnn": "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "faster_rcnn": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "retinanet": "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
}
SIZES = [64, 96, 128]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Twelve images with objects, the last two of which lost their annotations."""
    from tools.demo.scenes import SceneParameters, write_scenes

    root = tmp_path_factory.mktemp("scenes") / "scenes"
    small = SceneParameters(
        train_images=1, val_images=1, det_train_images=12, det_val_images=0
    )
    write_scenes(root, small)
    path = root / "detection" / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] < 11]
    path.write_text(json.dumps(content))
    return root / "detection"


def shrink(model, num_classes):
    model.backbone.update(
        depth=18,
        base_channels=8,
        stem_channels=8,
        init_cfg=None,
        frozen_stages=-1,
        norm_eval=False,
    )
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=16)
    if "roi_head" not in model:
        model.bbox_head.update(
            in_channels=16, feat_channels=16, stacked_convs=1, num_classes=num_classes
        )
        return
    model.rpn_head.update(in_channels=16, feat_channels=16)
    model.rpn_head.anchor_generator.scales = [4]
    roi = model.roi_head
    roi.bbox_roi_extractor.out_channels = 16
    roi.bbox_head.update(in_channels=16, fc_out_channels=32, num_classes=num_classes)
    model.train_cfg.rcnn.sampler.num = 32
    model.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=50)
    if "mask_head" in roi:
        roi.mask_roi_extractor.out_channels = 16
        roi.mask_head.update(
            in_channels=16, conv_out_channels=16, num_convs=1, num_classes=num_classes
        )


def pipeline(mask=False, resize=None, pack=True):
    steps = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations", with_bbox=True, with_mask=mask),
        resize or dict(type="MultiScaleResize", keep_ratio=True),
        dict(type="RandomFlip", prob=0.5),
    ]
    return [*steps, dict(type="PackDetInputs")] if pack else steps


def leaf(root, **kwargs):
    config = dict(
        type="CocoDataset",
        data_root=str(root),
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train/"),
        metainfo=dict(classes=("disc", "square", "triangle", "star")),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=pipeline(),
    )
    return {**config, **kwargs}


def runner_for(name, dataset, tmp_path, num_classes=4, model=None, **sampler):
    config = Config(dict(model=get_config(FILES[name]).model.to_dict()))
    shrink(config.model, num_classes)
    config.merge_from_dict(dict(model=model or {}))
    hooks = sampler.pop("custom_hooks", [])
    # Not from_cfg: MMEngine formats a whole config five times over.
    return Runner(
        model=config.model,
        default_scope="mmdet",
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1), checkpoint=None),
        train_dataloader=dict(
            batch_size=2,
            num_workers=sampler.pop("num_workers", 0),
            sampler=dict(type="DefaultSampler", shuffle=True),
            batch_sampler=dict(
                type="MultiScaleVariableBatchSampler",
                **{
                    "base_size": 96,
                    "sizes": SIZES,
                    "group_by_aspect_ratio": True,
                    **sampler,
                },
            ),
            dataset=dict(type="MultiScaleDataset", dataset=dataset),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(
            type="OptimWrapper", optimizer=dict(type="SGD", lr=0.002, momentum=0.9)
        ),
        custom_hooks=hooks,
        randomness=dict(seed=0),
        log_level="WARNING",
        work_dir=str(tmp_path / "run"),
        experiment_name=f"{name}-{tmp_path.name}",
    )


class Watch:
    """What a detector was given: padded shapes, images' shapes, boxes, losses."""

    def __init__(self, model):
        self.batches, self.losses = [], []
        loss = model.loss

        def watched(inputs, samples):
            self.batches.append((tuple(inputs.shape), samples))
            losses = loss(inputs, samples)
            total, _ = model.parse_losses(losses)
            self.losses.append(float(total.detach()))
            return losses

        model.loss = watched

    def check(self, plan, divisor=32):
        assert [len(samples) for _, samples in self.batches] == [n for _, _, n in plan]
        assert len(self.losses) == len(plan) and np.isfinite(self.losses).all()
        for (h, w, _), (shape, samples) in zip(plan, self.batches):
            images = [sample.img_shape for sample in samples]
            # The size bounds the image, whichever way it lies.
            assert all(max(i) == max(h, w) and min(i) <= min(h, w) for i in images)
            padded = [-(-max(side) // divisor) * divisor for side in zip(*images)]
            assert list(shape[2:]) == padded
            for sample in samples:
                boxes = sample.gt_instances.bboxes
                boxes = getattr(boxes, "tensor", boxes)
                limit = torch.tensor(sample.img_shape[::-1] * 2)
                assert (boxes >= 0).all() and (boxes <= limit + 1e-3).all()
                assert (boxes[:, 2:] - boxes[:, :2] >= 1 - 1e-3).all()
                x, y = sample.scale_factor
                height, width = sample.ori_shape
                assert sample.img_shape == (round(height * y), round(width * x))
                if "masks" in sample.gt_instances:
                    masks = sample.gt_instances.masks
                    assert (masks.height, masks.width) == tuple(shape[2:])
                    assert len(masks) == len(boxes)


def train(runner):
    watch = Watch(runner.model)
    runner.model.init_weights()
    before = copy.deepcopy(runner.model.state_dict())
    runner.train()
    after = runner.model.state_dict()
    changed = {k for k in after if not torch.equal(before[k].float(), after[k].float())}
    return watch, runner.train_dataloader.batch_sampler.plan(0), changed


@pytest.mark.parametrize("poly2mask", [True, False])
def test_mask_rcnn_with_frozen_stages(scenes, tmp_path, poly2mask):
    steps = pipeline(mask=True)
    steps[1]["poly2mask"] = poly2mask
    if not poly2mask:
        # The scenes' masks are run lengths, which polygons cannot be made of.
        steps[1].update(with_mask=False)
        steps.insert(2, dict(type="BoxesAsPolygons"))
    runner = runner_for(
        "mask_rcnn",
        leaf(scenes, pipeline=steps),
        tmp_path,
        model=dict(backbone=dict(frozen_stages=1, norm_eval=True)),
        custom_hooks=[dict(type="ResolutionCurriculumHook", start_sizes=[64, 96])],
    )
    watch, plan, changed = train(runner)
    watch.check(plan)
    assert sum(n for _, _, n in plan) == 10
    assert any(k.startswith("roi_head.mask_head") for k in changed)
    assert any(k.startswith("backbone.layer2") for k in changed)
    frozen = ("backbone.conv1", "backbone.bn1", "backbone.layer1")
    assert not any(k.startswith(frozen) for k in changed)
    assert not any(k.startswith("backbone") and "running_" in k for k in changed)


@TRANSFORMS.register_module()
class BoxesAsPolygons:
    """The outline of each box as its mask."""

    def __call__(self, results):
        from mmdet.structures.mask import PolygonMasks

        boxes = results["gt_bboxes"].tensor.numpy()
        outlines = [[np.array([a, b, c, b, c, d, a, d])] for a, b, c, d in boxes]
        results["gt_masks"] = PolygonMasks(outlines, *results["ori_shape"])
        return results


def test_faster_rcnn_on_wrapped_data_with_sync_bn_and_empty_images(scenes, tmp_path):
    some = leaf(
        scenes, filter_cfg=dict(filter_empty_gt=False), indices=[0, 1, 2, 10, 11]
    )
    dataset = dict(
        type="RepeatDataset",
        times=2,
        dataset=dict(
            type="ConcatDataset",
            datasets=[some, leaf(scenes, indices=[3, 4])],
        ),
    )
    runner = runner_for(
        "faster_rcnn",
        dataset,
        tmp_path,
        model=dict(
            backbone=dict(norm_cfg=dict(type="SyncBN", requires_grad=True)),
            neck=dict(norm_cfg=dict(type="SyncBN", requires_grad=True)),
        ),
        num_workers=1,
    )
    watch, plan, changed = train(runner)
    watch.check(plan)
    # Five images, two of them without objects, and two more; all of it twice.
    samples = [sample for _, batch in watch.batches for sample in batch]
    assert len(samples) == sum(n for _, _, n in plan) == 14
    assert sum(len(sample.gt_instances) == 0 for sample in samples) == 4
    # No batch holds both kinds.
    for _, batch in watch.batches:
        assert len({s.ori_shape[1] >= s.ori_shape[0] for s in batch}) == 1
    assert any("running_mean" in k for k in changed if k.startswith("backbone"))


def test_retinanet_class_balanced_and_padded_to_one_shape(scenes, tmp_path):
    dataset = dict(
        type="ClassBalancedDataset", dataset=leaf(scenes), oversample_thr=0.99
    )
    augment = dict(type="BatchFixedSizePad", size=(128, 160))
    runner = runner_for(
        "retinanet",
        dataset,
        tmp_path,
        model=dict(
            data_preprocessor=dict(pad_size_divisor=64, batch_augments=[augment])
        ),
        group_by_aspect_ratio=False,
    )
    watch, plan, _ = train(runner)
    assert len(watch.batches) == len(plan) and np.isfinite(watch.losses).all()
    plain = DATASETS.build(dataset)
    assert sum(n for _, _, n in plan) == len(plain) > 10
    for (h, w, n), (shape, samples) in zip(plan, watch.batches):
        # At least the fixed shape, more where 64 divides no less.
        tall = max(-(-s.img_shape[0] // 64) * 64 for s in samples)
        wide = max(-(-s.img_shape[1] // 64) * 64 for s in samples)
        assert shape == (n, 3, max(tall, 128), max(wide, 160))
        assert all(max(s.img_shape) == max(h, w) for s in samples)


def test_retinanet_on_mosaics_at_the_size_of_the_batch(scenes, tmp_path):
    dataset = dict(
        type="MultiImageMixDataset",
        dataset=leaf(scenes, pipeline=pipeline(pack=False)[:2]),
        pipeline=[
            dict(type="MultiScaleMosaic"),
            dict(type="MultiScaleRandomAffine", scaling_ratio_range=(0.5, 1.5)),
            dict(type="MultiScaleMixUp", ratio_range=(0.8, 1.6)),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs", meta_keys=("img_shape", "img_id")),
        ],
    )
    runner = runner_for("retinanet", dataset, tmp_path)
    watch, plan, _ = train(runner)
    assert np.isfinite(watch.losses).all()
    # The mosaic leaves nothing of an image's own ratio.
    assert [(*shape[2:], shape[0]) for shape, _ in watch.batches] == plan
    assert {h for h, _, _ in plan} <= set(SIZES) and len(plan) > 2


def test_exactly_the_size_as_published(scenes, tmp_path):
    steps = pipeline(resize=dict(type="MultiScaleResize", keep_ratio=False))
    runner = runner_for(
        "retinanet", leaf(scenes, pipeline=steps), tmp_path, sizes=[64, (64, 96), 96]
    )
    watch, plan, _ = train(runner)
    assert [(*shape[2:], shape[0]) for shape, _ in watch.batches] == plan


# ------------------------------------------------------ files that cannot be read


@pytest.fixture
def broken(scenes, tmp_path):
    """The scenes with one image as it is, one garbled, one empty, one missing."""
    folder = tmp_path / "train"
    folder.mkdir()
    kept = sorted((scenes / "train").glob("*.jpg"))[:4]
    (folder / kept[0].name).write_bytes(kept[0].read_bytes())
    (folder / kept[1].name).write_bytes(b"this is no JPEG" * 40)
    (folder / kept[2].name).write_bytes(b"")
    return folder


def opened(scenes, folder, **loading):
    steps = pipeline(pack=False)
    steps[0].update(loading)
    init_default_scope("mmdet")
    config = leaf(
        scenes,
        data_prefix=dict(img=str(folder) + "/"),
        pipeline=steps,
        indices=[0, 1, 2, 3],
        max_refetch=50,
    )
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MultiScaleDataset(config)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_a_file_that_cannot_be_read_is_named(scenes, broken, index):
    dataset = opened(scenes, broken)
    with pytest.raises(Exception, match=rf"{index:05d}\.jpg"):
        dataset[sized_index_class((64, 64))(index)]


@pytest.mark.parametrize("index", [1, 2, 3])
def test_what_is_fetched_for_it_has_the_size_of_the_batch(
    scenes, broken, index, caplog
):
    if index == 1 and mmcv.__version__ == "2.0.0":
        pytest.skip("mmcv 2.0.0 fails on a garbled image in spite of ignore_empty")
    dataset = opened(scenes, broken, ignore_empty=True)
    MMLogger.get_instance(f"broken-{index}").addHandler(caplog.handler)
    for size in ((64, 64), (96, 96)):
        np.random.seed(index)
        results = dataset[sized_index_class(size)(index)]
        assert results["img_path"].endswith("00000.jpg")
        assert max(results["img"].shape[:2]) == size[0]
        assert results["target_size"] == size
    assert f"{index:05d}.jpg cannot be read; another image is loaded" in caplog.text


# ------------------------------------------------------------------- real images

needs_coco_mini = pytest.mark.skipif(
    not (COCO_MINI / "annotations").is_dir(),
    reason=f"{COCO_MINI} is not there; MMS_DATA_ROOT names the folder that holds it",
)
COCO_SIZES = dict(min=128, max=320, num=7)


def coco_mini(**kwargs):
    config = dict(
        type="CocoDataset",
        data_root=str(COCO_MINI),
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=pipeline(mask=True),
    )
    return {**config, **kwargs}


@needs_coco_mini
def test_coco_mini_trains_at_every_size(tmp_path):
    runner = runner_for(
        "mask_rcnn",
        coco_mini(indices=60),
        tmp_path,
        num_classes=80,
        base_size=224,
        sizes=COCO_SIZES,
        num_workers=2,
    )
    watch, plan, _ = train(runner)
    watch.check(plan)
    assert {h for h, _, _ in plan} == {128, 160, 192, 224, 256, 288, 320}
    ids = [sample.img_id for _, batch in watch.batches for sample in batch]
    # Each image once, but for those whose objects all vanish at their size.
    assert len(ids) == len(runner.train_dataloader.dataset)
    assert len(set(ids)) >= len(ids) - 3
