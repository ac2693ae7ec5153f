"""Mask R-CNN EfficientNet-B3, SSc-FBS: but for backbone and rate as with ResNet-50.

CoreNet's projects/range_augment/detection/maskrcnn_efficientnet_b3.yaml, without
RangeAugment: rate 0.05. The weights are those of mmdet's EfficientNet-B3 config.
"""

_base_ = "mask-rcnn-r50-fpn_fbs_8xb4-100e_coco.py"

checkpoint = "https://download.openmmlab.com/mmclassification/v0/efficientnet/efficientnet-b3_3rdparty_8xb32-aa_in1k_20220119-5b4887a0.pth"
model = dict(
    backbone=dict(
        _delete_=True,
        type="EfficientNet",
        arch="b3",
        out_indices=(2, 3, 4, 5),
        norm_cfg=dict(type="SyncBN", requires_grad=True, eps=1e-3, momentum=0.01),
        norm_eval=False,
        init_cfg=dict(type="Pretrained", prefix="backbone", checkpoint=checkpoint),
    ),
    neck=dict(in_channels=[32, 48, 136, 384]),
)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(start_factor=0.02)
