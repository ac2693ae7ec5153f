"""Mask R-CNN MobileNetV2, MSc-VBSWC: all but the backbone as with ResNet-50.

CoreNet's projects/range_augment/detection/maskrcnn_mobilenet_v2.yaml, without
RangeAugment. The weights are those that mmdet's own configs start from.
"""

_base_ = "mask-rcnn-r50-fpn_vbs-cur_8xb4-100e_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="MobileNetV2",
        out_indices=(1, 2, 4, 6),
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://mmdet/mobilenet_v2"),
    ),
    neck=dict(in_channels=[24, 32, 96, 320]),
)
