"""SE-ResNet-50, MSc-VBS: but for the network as ResNet-50 with repeated augmentation.

CoreNet's projects/range_augment/classification/se_resnet_50.yaml.
"""

_base_ = "../resnet/resnet50_vbs_8xb128-ra4-600e_in1k.py"

model = dict(backbone=dict(type="SEResNet"))
