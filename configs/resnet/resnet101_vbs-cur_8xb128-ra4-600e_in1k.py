"""ResNet-101, MSc-VBSWC with repeated augmentation: but for the depth as ResNet-50.

CoreNet's projects/range_augment/classification/resnet_101.yaml.
"""

_base_ = "resnet50_vbs-cur_8xb128-ra4-600e_in1k.py"

model = dict(backbone=dict(depth=101))
