"""ImageNet-1k at 224 x 224, 128 images a GPU.

As in CVNets' resnet_adv.yaml: bicubic crops, flips, RandAugment, erasing with
probability 0.25. RandAugment's settings are those of torchvision's, on which CVNets
builds (2 operations, magnitude 9 of 30); the list of operations is mmpretrain's.
"""

_base_ = "mmpretrain::_base_/datasets/imagenet_bs64.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="RandomResizedCrop",
        scale=224,
        backend="pillow",
        interpolation="bicubic",
    ),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(
        type="RandAugment",
        policies="timm_increasing",
        num_policies=2,
        total_level=30,
        magnitude_level=9,
        magnitude_std=0.0,
    ),
    dict(type="RandomErasing", erase_prob=0.25, mode="const"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="ResizeEdge",
        scale=256,
        edge="short",
        backend="pillow",
        interpolation="bicubic",
    ),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]

# 8 workers a GPU: CVNets' too.
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(pipeline=train_pipeline),
    collate_fn=dict(type="default_collate"),
    persistent_workers=True,
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    dataset=dict(pipeline=test_pipeline),
    collate_fn=dict(type="default_collate"),
    persistent_workers=True,
)
test_dataloader = val_dataloader
