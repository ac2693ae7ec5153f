"""Mask R-CNN R101, SSc-FBS: all but the depth as with ResNet-50.

CoreNet's projects/range_augment/detection/maskrcnn_resnet_101.yaml, without
RangeAugment.
"""

_base_ = "mask-rcnn-r50-fpn_fbs_8xb4-100e_coco.py"

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet101"),
    )
)
