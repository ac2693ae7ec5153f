"""SSc-FBS with repeated augmentation, the baseline of CoreNet's recipe.

CoreNet's projects/range_augment/classification/resnet_50.yaml, at one size and with
RandAugment in the place of RangeAugment.
"""

_base_ = [
    "../_base_/models/resnet50_mixup-cutmix.py",
    "../_base_/datasets/imagenet_bs128-ra4_224.py",
    "../_base_/schedules/imagenet_sgd_coslr_bs1024.py",
    "../_base_/default_runtime.py",
]
