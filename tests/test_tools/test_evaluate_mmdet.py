"""tools/test.py over sizes and corruptions with a detector, against plain runs."""

import json
from pathlib import Path

import pytest
import torch

from mms_plugin.commands import test as evaluate

pytest.importorskip("mmdet")
pytest.importorskip("imagecorruptions")
pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['mms_plugin'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        depth=18, base_channels=8, stem_channels=8, frozen_stages=-1,
        norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    bbox_head=dict(
        num_classes=4, in_channels=16, feat_channels=16, stacked_convs=1,
        anchor_generator=dict(octave_base_scale=2)))
model["test_cfg"] = dict(score_thr=0.0)
metainfo = dict(classes=('disc', 'square', 'triangle', 'star'))
data_root = 'ROOT/detection/'
test_dataloader = dict(
    batch_size=3, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset', data_root=data_root, metainfo=metainfo, test_mode=True,
        ann_file='annotations/instances_val.json', data_prefix=dict(img='val/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            EXTRA
            dict(type='Resize', scale=SCALE, keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=(
                'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
# Recall tells untrained detectors apart, precision does not.
test_evaluator = dict(
    type='CocoMetric', ann_file=data_root + 'annotations/instances_val.json',
    metric=['bbox', 'proposal'])
test_cfg = dict(type='TestLoop')
"""


@pytest.fixture(scope="module")
def write_config(tmp_path_factory):
    from tools.demo.scenes import SceneParameters, write_scenes

    pytest.importorskip("cv2")
    root = tmp_path_factory.mktemp("det")
    write_scenes(
        root / "scenes",
        SceneParameters(
            train_images=1, val_images=1, det_train_images=1, det_val_images=7
        ),
    )

    def write(name, scale, extra=""):
        path = root / f"{name}.py"
        text = CONFIG.replace("ROOT", str(root / "scenes")).replace("EXTRA", extra)
        path.write_text(text.replace("SCALE", str(scale)))
        return path

    return write


@pytest.fixture(scope="module")
def checkpoint(write_config, tmp_path_factory):
    from mmengine.registry import MODELS, init_default_scope

    from mms_plugin import cli

    path = tmp_path_factory.mktemp("checkpoint") / "detector.pth"
    config = cli.load_config(str(write_config("base", (200, 160))))
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    # Not one score for all: each place sees what lies there.
    model.bbox_head.retina_cls.weight.data.mul_(20)
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return path


def test_sizes_and_corruptions(write_config, checkpoint, tmp_path):
    def run(config, out, *arguments):
        command = [config, checkpoint, "--work-dir", tmp_path, *arguments]
        evaluate.main([str(item) for item in [*command, "--out", tmp_path / out]])
        return json.loads((tmp_path / out).read_text())

    report = run(
        write_config("base", (200, 160)), "all.json", "--sizes", 96, 160,
        "--corruptions", "fog", "--severities", 3, "--metric", "coco/AR@100",
    )  # fmt: skip
    assert report["transforms"]["96"] == "Resize(scale=(120, 96))"
    found = {
        (item["size"], item["corruption"]): item["metrics"]
        for item in report["results"]
    }
    assert list(found) == [(96, None), (160, None), (96, "fog"), (160, "fog")]
    fog = "dict(type='CommonCorruption', corruption='fog', severity=3),"
    small = write_config("small", (120, 96))
    assert run(small, "small.json") == pytest.approx(found[(96, None)])
    foggy = write_config("foggy", (120, 96), fog)
    assert run(foggy, "foggy.json") == pytest.approx(found[(96, "fog")])
    recalls = [metrics["coco/AR@100"] for metrics in found.values()]
    assert len(set(recalls)) >= 3 and min(recalls) > 0
    assert "| severity 3 |" in (tmp_path / "all.md").read_text()
