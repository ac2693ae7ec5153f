"""EfficientNet-B0, SSc-FBS: every batch has 256 images at 224 x 224. The baseline.

CoreNet's projects/range_augment/classification/efficientnet_b0.yaml, at one size and
without RangeAugment.
"""

_base_ = [
    "mmpretrain::_base_/models/efficientnet_b0.py",
    "../_base_/datasets/imagenet_bs256_224.py",
    "../_base_/schedules/imagenet_sgd_coslr_bs2048.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1)))
