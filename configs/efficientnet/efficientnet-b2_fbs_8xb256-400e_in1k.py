"""EfficientNet-B2, SSc-FBS: every batch has 256 images at 260 x 260. The baseline.

CoreNet's projects/range_augment/classification/efficientnet_b2.yaml, at one size and
with RandAugment in the place of RangeAugment; tested at 288 x 288.
That file builds a B3 all the same; this one builds the B2 of its name.
"""

_base_ = [
    "../_base_/models/efficientnet-b3_mixup-cutmix.py",
    "../_base_/datasets/imagenet_bs256-randaug_224.py",
    "../_base_/schedules/imagenet_sgd_coslr_bs2048.py",
    "../_base_/default_runtime.py",
]

model = dict(backbone=dict(arch="b2"), head=dict(in_channels=1408))
train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=260)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=288)
test_pipeline[2].update(crop_size=288)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
