"""Mask R-CNN, ResNet-50 FPN, all of it trained, with SyncBN.

CVNets' mask_rcnn_coco/resnet_fpn.yaml; the network itself is mmdet's.
"""

_base_ = "mmdet::_base_/models/mask-rcnn_r50_fpn.py"

norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(
    backbone=dict(frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False),
    neck=dict(norm_cfg=norm_cfg),
    roi_head=dict(mask_head=dict(norm_cfg=norm_cfg)),
)
