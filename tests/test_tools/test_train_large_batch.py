"""tools/train.py --recipe agvm with a batch size: a small Faster R-CNN on scenes."""

import json

import pytest
import torch
from mmengine.config import Config

from mms_plugin import cli
from mms_plugin.commands import train

pytest.importorskip("mmdet")
pytestmark = pytest.mark.timeout(300)

# 24 scenes, 2 images an iteration and rank, 4 epochs; the rate is for a batch of 2.
CONFIG = """
_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py']
model = dict(
    backbone=dict(
        depth=18, base_channels=8, stem_channels=8, frozen_stages=-1, init_cfg=None),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(
        in_channels=16, feat_channels=16,
        anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16),
        bbox_head=dict(num_classes=NUMBER, in_channels=16, fc_out_channels=32)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=50, max_per_img=50),
        rcnn=dict(sampler=dict(num=16))))
metainfo = dict(classes=CLASSES)
train_dataloader = dict(
    batch_size=2, num_workers=0, persistent_workers=False,
    dataset=dict(
        data_root='ROOT/', ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'), metainfo=metainfo,
        filter_cfg=None,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='Resize', scale=(64, 64), keep_ratio=True),
            dict(type='PackDetInputs')]))
val_dataloader = None
val_cfg = None
val_evaluator = None
test_dataloader = None
test_cfg = None
test_evaluator = None
train_cfg = dict(max_epochs=4)
auto_scale_lr = dict(enable=False, base_batch_size=2)
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=0)
"""
RATE = 0.02


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    from tools.demo.scenes import CLASSES, SceneParameters, write_scenes

    root = tmp_path_factory.mktemp("scenes") / "scenes"
    small = SceneParameters(
        train_images=1, val_images=1, det_train_images=24, det_val_images=0
    )
    write_scenes(root, small)
    path = root / "tiny_faster_rcnn.py"
    text = CONFIG.replace("ROOT", str(root / "detection"))
    text = text.replace("NUMBER", str(len(CLASSES)))
    path.write_text(text.replace("classes=CLASSES", f"classes={tuple(CLASSES)}"))
    return path


def logged_rates(work_dir):
    """The learning rate of each iteration."""
    (scalars,) = work_dir.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    return [line["base_lr"] for line in lines if "base_lr" in line]


def check_released_warmup(rates, rate, iterations):
    """From a thousandth of the rate up to it, by the same factor each iteration."""
    expected = [rate * 1000 ** (i / iterations - 1) for i in range(iterations + 1)]
    assert rates[: iterations + 1] == pytest.approx(expected, rel=1e-3)
    assert rates[iterations + 1] == pytest.approx(rate, rel=1e-3)


def test_accumulation_in_one_process(config_file, run_tool, tmp_path):
    done = run_tool(
        "train.py", config_file, "--work-dir", tmp_path, "--recipe", "agvm",
        "--recipe-options", "batch_size=8", "lr_rule=linear",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = "--recipe agvm: batch of 8 images: 1 rank x 2 images x 4 accumulated"
    assert said in done.stderr
    config = Config.fromfile(tmp_path / "tiny_faster_rcnn.py")
    assert config.optim_wrapper.accumulative_counts == 4
    assert config.model.backbone.norm_eval is True  # one process keeps it
    # 48 iterations are 12 updates: an eighth of them, 1, is 4 iterations of warm-up.
    check_released_warmup(logged_rates(tmp_path), 4 * RATE, 4)
    saved = torch.load(tmp_path / "epoch_4.pth")
    assert saved["meta"]["iter"] == 48
    # Two updates after the warm-up, then before every update.
    assert config.optim_wrapper.agvm == dict(start_iter=12, interval=1, momentum=0.9)
    assert saved["optimizer"]["agvm"]["num_measured"] == 9


@pytest.mark.distributed
@pytest.mark.skipif(torch.cuda.is_available(), reason="two processes, no two GPUs")
def test_two_ranks(config_file, run_tool, free_port, tmp_path):
    done = run_tool(
        "dist_train.sh", config_file, 2, "--work-dir", tmp_path, "--recipe", "agvm",
        "--recipe-options", "batch_size=8", "warmup_iters=3",
        env={"PORT": free_port()},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = "--recipe agvm: batch of 8 images: 2 ranks x 2 images x 2 accumulated"
    assert done.stderr.count(said) == 1
    assert done.stderr.count("sync_bn does not run on the CPU") == 1
    config = Config.fromfile(tmp_path / "tiny_faster_rcnn.py")
    assert config.optim_wrapper.accumulative_counts == 2
    assert config.model.backbone.norm_eval is False
    # 3 updates of 2 iterations; the square root of 8 / 2.
    check_released_warmup(logged_rates(tmp_path), 2 * RATE, 6)
    saved = torch.load(tmp_path / "epoch_4.pth")
    assert saved["meta"]["iter"] == 24
    # From update 5 of 12 on.
    assert saved["optimizer"]["agvm"]["num_measured"] == 7
    multipliers = saved["optimizer"]["agvm"]["multipliers"]
    assert any(value != 1.0 for value in multipliers.values())


@pytest.mark.parametrize(
    "options, words",
    [
        ("batch_size=7", "batch_size=7 cannot be made of 1 rank with 2 images"),
        ("batch_size=8 world_size=4", "world_size=4 contradicts the command's own"),
        ("batch_size=8 lr_rule=cube", "lr_rule must be 'sqrt' or 'linear'"),
        (
            "batch_size=8 warmup_iters=12",
            "warmup_iters=12 must be below the 12 updates",
        ),
        ("lr_rule=sqrt", "lr_rule='sqrt' needs batch_size=N"),
        ("batch_size=0", "batch_size must be an integer of at least 1"),
    ],
)
def test_bad_input_is_one_line(config_file, tmp_path, options, words):
    with pytest.raises(cli.UserError, match=words) as error:
        train.main(
            [
                *(str(config_file), "--work-dir", str(tmp_path)),
                *("--recipe", "agvm", "--recipe-options", *options.split()),
            ]
        )
    assert "\n" not in str(error.value)


def test_exit_code(config_file, run_tool, tmp_path):
    done = run_tool(
        "train.py", config_file, "--work-dir", tmp_path, "--recipe", "agvm",
        "--recipe-options", "batch_size=7",
    )  # fmt: skip
    assert done.returncode == 2
    assert "batch_size=7 cannot be made of 1 rank with 2 images" in done.stderr
    assert "Traceback" not in done.stderr
