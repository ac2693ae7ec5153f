"""ImageNet-1k at 224 x 224, 256 images a GPU, crops and flips only.

As in CoreNet's projects/range_augment: bilinear crops, test at 232 -> 224. CoreNet adds
RangeAugment, a learned augmentation, which is not part of this project.
"""

_base_ = "mmpretrain::_base_/datasets/imagenet_bs64.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=224),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=232, edge="short"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]

train_dataloader = dict(
    batch_size=256,
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
