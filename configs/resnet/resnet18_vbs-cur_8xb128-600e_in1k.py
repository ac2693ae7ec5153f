"""ResNet-18, MSc-VBSWC: all but the network as in resnet50_vbs-cur_8xb128-600e_in1k.py."""

_base_ = "resnet50_vbs-cur_8xb128-600e_in1k.py"

model = dict(backbone=dict(depth=18), head=dict(in_channels=512))
