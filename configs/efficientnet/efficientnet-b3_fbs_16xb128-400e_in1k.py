"""EfficientNet-B3, SSc-FBS: every batch has 128 images at 300 x 300. The baseline.

CoreNet's projects/range_augment/classification/efficientnet_b3.yaml, at one size and
with RandAugment in the place of RangeAugment; tested at 320 x 320.
Its 128 images a GPU on 8 GPUs and two accumulated iterations are 16 GPUs here, so that
an iteration is an update.
"""

_base_ = [
    "../_base_/models/efficientnet-b3_mixup-cutmix.py",
    "../_base_/datasets/imagenet_bs256-randaug_224.py",
    "../_base_/schedules/imagenet_sgd_coslr_bs2048.py",
    "../_base_/default_runtime.py",
]

train_pipeline = _base_.train_pipeline
train_pipeline[1].update(scale=300)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=320)
test_pipeline[2].update(crop_size=320)
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
