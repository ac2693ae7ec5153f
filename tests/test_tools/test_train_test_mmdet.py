"""tools/train.py and tools/test.py with a detector of mmdet on eight pictures."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")
pytestmark = pytest.mark.timeout(300)

CONFIG = """
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py']
model = dict(
    data_preprocessor=dict(pad_size_divisor=1),
    backbone=dict(
        depth=18, base_channels=8, stem_channels=8, frozen_stages=-1,
        norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    bbox_head=dict(num_classes=1, in_channels=16, feat_channels=16, stacked_convs=1))
model["test_cfg"] = dict(score_thr=0.0)  # hardly trained: let all pass
metainfo = dict(classes=('square', ), palette=[(220, 20, 60)])
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]
train_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset', data_root='ROOT', ann_file='annotations.json',
        data_prefix=dict(img=''), metainfo=metainfo, pipeline=pipeline))
val_dataloader = dict(
    batch_size=4, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset', data_root='ROOT', ann_file='annotations.json',
        data_prefix=dict(img=''), metainfo=metainfo, test_mode=True,
        pipeline=pipeline))
val_evaluator = dict(
    type='CocoMetric', ann_file='ROOT/annotations.json', metric='bbox')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(lr=0.001))
default_hooks = dict(logger=dict(interval=1))
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    cv2 = pytest.importorskip("cv2")
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for index in range(8):
        image = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8)
        x, y, side = (int(v) for v in rng.integers(8, 28, 3))
        image[y : y + side, x : x + side] = 230
        cv2.imwrite(str(root / f"{index}.png"), image)
        images.append(dict(id=index, file_name=f"{index}.png", height=64, width=64))
        annotations.append(
            dict(id=index + 1, image_id=index, category_id=1, iscrowd=0,
                 bbox=[x, y, side, side], area=side * side)
        )  # fmt: skip
    (root / "annotations.json").write_text(
        json.dumps(
            dict(
                images=images,
                annotations=annotations,
                categories=[dict(id=1, name="square")],
            )
        )
    )
    path = root / "tiny_retinanet.py"
    path.write_text(CONFIG.replace("ROOT", str(root)))
    return path


def test_a_detector_is_trained_resumed_and_tested(config_file, run_tool, tmp_path):
    work_dir = tmp_path / "run"
    done = run_tool("train.py", config_file, "--work-dir", work_dir)
    assert done.returncode == 0, done.stderr[-3000:]
    checkpoint = torch.load(work_dir / "epoch_1.pth")
    assert checkpoint["meta"]["iter"] == 2
    assert checkpoint["meta"]["dataset_meta"]["classes"] == ("square",)

    done = run_tool(
        "train.py", config_file, "--work-dir", work_dir, "--resume",
        "--cfg-options", "train_cfg.max_epochs=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert torch.load(work_dir / "epoch_2.pth")["meta"]["iter"] == 4

    done = run_tool(
        "test.py", config_file, work_dir / "epoch_2.pth", "--json",
        "--work-dir", tmp_path / "test",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    # pycocotools prints its table too, but not here.
    metrics = json.loads(done.stdout)
    assert metrics["coco/bbox_mAP"] is not None
    assert set(metrics) >= {"coco/bbox_mAP_50", "coco/bbox_mAP_s"}
