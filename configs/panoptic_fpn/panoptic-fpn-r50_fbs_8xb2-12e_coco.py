"""Batch 16: mmdet's own 1x config. The baseline."""

_base_ = [
    "mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py",
    "../_base_/default_runtime_det.py",
]
