"""A real mmpretrain classifier, its own transforms, mixup and cutmix, at every size."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner

pytest.importorskip("mmpretrain")
mmcv = pytest.importorskip("mmcv")


@pytest.fixture
def images(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(24):
        folder = tmp_path / "images" / f"class{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        picture = rng.integers(0, 256, (70 + i, 90, 3), dtype=np.uint8)
        mmcv.imwrite(picture, str(folder / f"{i}.jpg"))
    return str(tmp_path / "images")


AUGMENTS = [dict(type="Mixup", alpha=0.8), dict(type="CutMix", alpha=1.0)]


def config(images, tmp_path, **changes):
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(
            type="MultiScaleTransform",
            transform=dict(type="RandomResizedCrop", backend="cv2"),
        ),
        dict(type="RandomFlip", prob=0.5, direction="horizontal"),
        dict(type="PackInputs"),
    ]
    cfg = dict(
        default_scope="mmpretrain",
        custom_imports=dict(imports=["mms_plugin"], allow_failed_imports=False),
        model=dict(
            type="ImageClassifier",
            backbone=dict(type="ResNet", depth=18, stem_channels=8, base_channels=8),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(
                type="LinearClsHead",
                num_classes=3,
                in_channels=64,
                loss=dict(
                    type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"
                ),
            ),
            train_cfg=dict(augments=AUGMENTS),
            data_preprocessor=dict(num_classes=3, mean=[127.0] * 3, std=[50.0] * 3),
        ),
        train_dataloader=dict(
            batch_size=4,
            num_workers=2,
            persistent_workers=True,
            sampler=dict(type="DefaultSampler", shuffle=True),
            batch_sampler=dict(
                type="MultiScaleVariableBatchSampler",
                base_size=48,
                sizes=[32, 48, (32, 64), 64],
            ),
            collate_fn=dict(type="default_collate"),
            dataset=dict(
                type="MultiScaleDataset",
                dataset=dict(type="CustomDataset", data_root=images, pipeline=pipeline),
            ),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9)),
        custom_hooks=[
            dict(type="ResolutionCurriculumHook", start_sizes=[32]),
            dict(type="EMAHook", momentum=0.1),
        ],
        work_dir=str(tmp_path / "run"),
        experiment_name=tmp_path.name,
        log_level="WARNING",
        randomness=dict(seed=0),
    )
    cfg.update(changes)
    return Config(cfg)


@pytest.mark.parametrize("where", ["model", "data_preprocessor"])
def test_resnet_trains_at_every_size(images, tmp_path, where):
    cfg = config(images, tmp_path)
    if where == "data_preprocessor":
        cfg.model.pop("train_cfg")
        cfg.model.data_preprocessor.batch_augments = dict(augments=AUGMENTS)
    runner = Runner.from_cfg(cfg)
    shapes = []
    runner.model.backbone.register_forward_pre_hook(
        lambda module, inputs: shapes.append(tuple(inputs[0].shape))
    )
    before = runner.model.head.fc.weight.detach().clone()
    runner.train()
    sampler = runner.train_dataloader.batch_sampler
    planned = [b for epoch in range(3) for b in sampler.plan(epoch)]
    assert [(h, w, n) for n, _, h, w in shapes] == planned
    # 4 images of 48 x 48 are 9,216 pixels.
    full = {(32, 32): 9, (48, 48): 4, (32, 64): 4, (64, 64): 2}
    assert {(h, w) for h, w, _ in planned} <= set(full)
    assert {h for h, _, _ in sampler.plan(0)} == {32}
    assert all(n <= full[h, w] for h, w, n in planned)
    assert not before.equal(runner.model.head.fc.weight)


def test_the_dataset_wrappers_of_mmpretrain(images, tmp_path):
    cfg = config(images, tmp_path)
    # One size alone would end its 64 images with a batch of one.
    cfg.custom_hooks[0].start_sizes = [32, 48]
    inner = cfg.train_dataloader.dataset.dataset
    cfg.train_dataloader.dataset.dataset = dict(
        type="ConcatDataset",
        datasets=[
            dict(type="RepeatDataset", times=2, dataset=inner),
            dict(type="KFoldDataset", fold=0, num_splits=3, dataset=inner),
        ],
    )
    runner = Runner.from_cfg(cfg)
    runner.train()
    sampler = runner.train_dataloader.batch_sampler
    assert sum(b for _, _, b in sampler.plan(0)) == 48 + 16
