"""A narrow ResNet-18 from scratch on the built-in scenes: all but the sampling.

A quarter of the usual channels, and a last stage that keeps its resolution (total
stride 16), since the images have a quarter of the usual side.
"""

_base_ = [
    "mmpretrain::_base_/models/resnet18.py",
    "mmpretrain::_base_/default_runtime.py",
]
custom_imports = dict(imports=["mms_plugin"], allow_failed_imports=False)

data_root = "{{$MMS_SCENES:work_dirs/demo/scenes}}/classification"
max_epochs = 18

model = dict(
    backbone=dict(stem_channels=16, base_channels=16, strides=(1, 2, 2, 1)),
    head=dict(num_classes=12, in_channels=128, topk=(1,)),
)
data_preprocessor = dict(
    num_classes=12,
    mean=[128.0, 128.0, 128.0],
    std=[64.0, 64.0, 64.0],
    to_rgb=True,
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=64, crop_ratio_range=(0.5, 1.0)),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="CustomDataset",
        data_root=data_root,
        data_prefix="train",
        with_label=True,
        pipeline=train_pipeline,
    ),
)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=64),
    dict(type="PackInputs"),
]
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="CustomDataset",
        data_root=data_root,
        data_prefix="val",
        with_label=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=150),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=2)
val_cfg = dict()
test_cfg = dict()

default_hooks = dict(
    logger=dict(interval=25),
    checkpoint=dict(interval=1, max_keep_ckpts=1),
)
randomness = dict(seed=0)
