"""ResNet-152, SSc-FBS: all but the network as in resnet50_fbs_8xb128-600e_in1k.py."""

_base_ = "resnet50_fbs_8xb128-600e_in1k.py"

model = dict(backbone=dict(depth=152))
