"""SSc-FBS: every batch has 128 images at 224 x 224. The baseline."""

_base_ = [
    "../_base_/models/resnet50_mixup-cutmix.py",
    "../_base_/datasets/imagenet_bs128_224.py",
    "../_base_/schedules/imagenet_sgd_coslr_600e.py",
    "../_base_/default_runtime.py",
]
