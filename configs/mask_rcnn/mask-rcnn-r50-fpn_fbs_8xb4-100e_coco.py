"""SSc-FBS: every batch has 4 images at 1024 x 1024. The baseline."""

_base_ = [
    "../_base_/models/mask-rcnn_r50_fpn_syncbn.py",
    "../_base_/datasets/coco_bs4_1024.py",
    "../_base_/schedules/coco_sgd_multistep_100e.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
]
