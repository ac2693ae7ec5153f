"""ResNet-101, SSc-FBS with repeated augmentation: but for the depth as ResNet-50.

CoreNet's projects/range_augment/classification/resnet_101.yaml.
"""

_base_ = "resnet50_fbs_8xb128-ra4-600e_in1k.py"

model = dict(backbone=dict(depth=101))
