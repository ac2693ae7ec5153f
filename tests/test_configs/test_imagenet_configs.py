"""ResNet-50 and -101 by CVNets' recipe: built from the config, and trained."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "resnet").glob("resnet*_8xb128-600e_in1k.py"))
CLASSIFICATION = [
    path for path in CONFIGS if path.stem[:9] in ("resnet50_", "resnet101")
]
SIZES = [(side, side) for side in range(128, 321, 32)]

pytest.importorskip("mmpretrain")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two classes of six pictures, in the place of ImageNet."""
    cv2 = pytest.importorskip("cv2")
    root = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir()
        for index in range(6):
            image = rng.integers(0, 255, (90, 120, 3), dtype=np.uint8)
            cv2.imwrite(str(root / name / f"{index}.jpg"), image)
    return root


def load(path, pictures):
    """The config with ImageNet's files replaced, and no worker processes."""
    config = Config.fromfile(path)
    for field in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = config[field]
        loader.update(num_workers=0, persistent_workers=False)
        dataset = loader.dataset.get("dataset", loader.dataset)
        assert dataset.type == "ImageNet"
        dataset.pop("split")
        dataset.update(type="CustomDataset", data_root=str(pictures))
    return config


def test_there_are_configs():
    stems = {path.stem for path in CONFIGS}
    for model in ("resnet50", "resnet101"):
        for recipe in ("fbs", "vbs", "vbs-cur"):
            assert f"{model}_{recipe}_8xb128-600e_in1k" in stems


@pytest.mark.parametrize("path", CLASSIFICATION, ids=lambda path: path.stem)
def test_classification_is_built(path, pictures):
    """Model, pipelines and sampler; one loss and one prediction."""
    config = load(path, pictures)
    init_default_scope(config.default_scope)
    loader = Runner.build_dataloader(config.train_dataloader, seed=3)
    seen = set()
    for epoch in range(6):
        if hasattr(loader.batch_sampler, "set_epoch"):
            loader.batch_sampler.set_epoch(epoch)
        (batch,) = list(loader)  # 12 images fit into one batch of every size
        assert len(batch["inputs"]) == len(batch["data_samples"]) == 12
        seen.add(tuple(batch["inputs"].shape[-2:]))
    if "_fbs_" in path.name:
        assert seen == {(224, 224)}
    else:
        assert len(seen) > 1 and seen <= set(SIZES)
        drawn = loader.batch_sampler.plan(0)
        assert len(drawn) == 1 and tuple(drawn[0])[:2] in SIZES
    model_config = dict(config.model, data_preprocessor=config.data_preprocessor)
    model = MODELS.build(model_config)
    depth = 101 if "101" in path.stem else 50
    assert (
        sum(p.numel() for p in model.parameters())
        == {
            # torchvision's published counts of the same networks
            50: 25_557_032,
            101: 44_549_160,
        }[depth]
    )
    if depth == 101:  # nothing else differs
        return
    batch = {key: value[:2] for key, value in batch.items()}
    losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    # 1,000 classes, nothing learnt: about ln(1000).
    assert 5 < losses["loss"].item() < 10
    val = next(iter(Runner.build_dataloader(config.val_dataloader)))
    assert tuple(val["inputs"].shape[-2:]) == (224, 224)
    model.eval()
    with torch.no_grad():
        (sample,) = model.val_step({key: value[:1] for key, value in val.items()})
    assert sample.pred_score.sum().item() == pytest.approx(1, abs=1e-4)


def test_the_curriculum_config_trains(pictures, tmp_path):
    """ResNet-50's vbs-cur through a real runner, at its two smallest sizes."""
    (path,) = (path for path in CONFIGS if path.stem.startswith("resnet50_vbs-cur"))
    config = load(path, pictures)
    config.merge_from_dict(
        {
            "work_dir": str(tmp_path),
            "train_cfg.max_epochs": 2,
            "train_dataloader.batch_size": 2,
            # A sixteenth of the arithmetic.
            "model.backbone.stem_channels": 16,
            "model.backbone.base_channels": 16,
            "model.head.in_channels": 512,
            "train_dataloader.batch_sampler.sizes": [128, 160],
            "val_cfg": None,
            "val_dataloader": None,
            "val_evaluator": None,
            "default_hooks.checkpoint.save_best": None,
            "randomness.seed": 1,
        }
    )
    runner = Runner.from_cfg(config)
    runner.train()
    # floor(2 * 224^2 / s^2): 6 images at 128, 3 at 160.
    plans = [runner.train_dataloader.batch_sampler.plan(epoch) for epoch in (0, 1)]
    for plan in plans:
        assert {tuple(p) for p in plan[:-1]} <= {(128, 128, 6), (160, 160, 3)}
        assert sum(p[2] for p in plan) == 12
    assert runner.iter == runner.max_iters == sum(map(len, plans))
    saved = torch.load(tmp_path / "epoch_2.pth")
    assert "ema_state_dict" in saved
    assert all(torch.isfinite(v).all() for v in saved["state_dict"].values())
