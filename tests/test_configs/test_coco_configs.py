"""Mask R-CNN's configs on COCO: batches and a short training on six made pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

cv2 = pytest.importorskip("cv2")
pytest.importorskip("mmdet")

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "mask_rcnn"
HEIGHT, WIDTH = 40, 60
BOX = (6, 10, 18, 20)  # x, y, width, height


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Six pictures with an object each, as COCO lays them out."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    (root / "train2017").mkdir()
    x, y, w, h = BOX
    outline = [x, y, x + w, y, x + w, y + h, x, y + h]
    images, annotations = [], []
    for index in range(6):
        picture = np.full((HEIGHT, WIDTH, 3), 40 * index, dtype=np.uint8)
        cv2.imwrite(str(root / "train2017" / f"{index}.jpg"), picture)
        images.append(
            dict(id=index, file_name=f"{index}.jpg", height=HEIGHT, width=WIDTH)
        )
        annotations.append(
            dict(id=index, image_id=index, category_id=1, iscrowd=0, bbox=BOX,
                 area=w * h, segmentation=[outline])
        )  # fmt: skip
    (root / "annotations" / "instances_train2017.json").write_text(
        json.dumps(
            dict(
                images=images,
                annotations=annotations,
                categories=[dict(id=1, name="person")],
            )
        )
    )
    return root


def load(recipe, coco):
    """The config with COCO's files replaced, and no worker processes."""
    (path,) = FOLDER.glob(f"mask-rcnn-r50-fpn_{recipe}_8xb4-100e_coco.py")
    config = Config.fromfile(path)
    config.train_dataloader.update(num_workers=0, persistent_workers=False)
    dataset = config.train_dataloader.dataset
    dataset.get("dataset", dataset).data_root = str(coco)
    init_default_scope(config.default_scope)
    return config


@pytest.mark.parametrize("recipe", ["fbs", "vbs", "vbs-cur"])
def test_recipe(recipe, coco):
    """Images and boxes at exactly the size of their batch; the published schedule."""
    config = load(recipe, coco)
    assert config.optim_wrapper.optimizer.lr == 0.1
    assert config.param_scheduler[1].milestones == [60, 84]
    norms = (config.model.backbone, config.model.neck, config.model.roi_head.mask_head)
    assert [part.norm_cfg.type for part in norms] == ["SyncBN"] * 3
    loader = Runner.build_dataloader(config.train_dataloader, seed=3)
    batches = list(loader)
    plan = [(1024, 1024, 4), (1024, 1024, 2)]
    if recipe != "fbs":
        sampler = loader.batch_sampler
        plan = sampler.plan(0)
        assert [size for size, _ in sampler.sizes] == [
            512, 608, 672, 768, 864, 928, 1024, 1120, 1184, 1280,
        ]  # fmt: skip
    assert sum(len(batch["inputs"]) for batch in batches) == 6
    for batch, (height, width, batch_size) in zip(batches, plan):
        assert len(batch["inputs"]) == batch_size
        for image, sample in zip(batch["inputs"], batch["data_samples"]):
            assert image.shape == (3, height, width)
            x1, y1, x2, y2 = sample.gt_instances.bboxes.tensor[0].tolist()
            assert x2 - x1 == pytest.approx(BOX[2] * width / WIDTH, rel=1e-4)
            assert y2 - y1 == pytest.approx(BOX[3] * height / HEIGHT, rel=1e-4)
            assert sample.gt_instances.masks.masks.shape[1:] == (height, width)


def test_the_curriculum_config_trains(coco, tmp_path):
    config = load("vbs-cur", coco)
    config.merge_from_dict(
        {
            "work_dir": str(tmp_path),
            "log_level": "ERROR",
            "train_cfg.max_epochs": 2,
            "train_dataloader.batch_sampler.base_size": 96,
            "train_dataloader.batch_sampler.sizes": [64, 96],
            "custom_hooks.1.start_sizes": [64],
            # A hundredth of the arithmetic.
            "model.backbone.depth": 18,
            "model.backbone.base_channels": 8,
            "model.backbone.stem_channels": 8,
            "model.backbone.init_cfg": None,
            "model.neck.in_channels": [8, 16, 32, 64],
            "model.train_cfg.rcnn.sampler.num": 4,
            "val_cfg": None,
            "val_dataloader": None,
            "val_evaluator": None,
            "default_hooks.checkpoint.interval": 2,
            "randomness.seed": 1,
        }
    )
    runner = Runner.from_cfg(config)
    frozen = [n for n, p in runner.model.named_parameters() if not p.requires_grad]
    assert frozen == []
    runner.train()
    # floor(4 * 96^2 / s^2): 9 images at 64, 4 at 96.
    plans = [runner.train_dataloader.batch_sampler.plan(epoch) for epoch in (0, 1)]
    assert [plan[0][:2] for plan in plans][0] == (64, 64)
    assert runner.iter == runner.max_iters == sum(map(len, plans))
    saved = torch.load(tmp_path / "epoch_2.pth")
    assert "ema_state_dict" in saved
    assert all(torch.isfinite(v).all() for v in saved["state_dict"].values())
