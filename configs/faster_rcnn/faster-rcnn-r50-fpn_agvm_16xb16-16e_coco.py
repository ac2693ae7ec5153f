"""AGVM at batch 256, as released with arXiv 2210.11078 for MMDetection 2.

The rate, 0.16 * sqrt(2), and 920 iterations of warm-up are the released ones.
"""

_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
    "../_base_/schedules/coco_sgd_agvm_16e.py",
]

model = dict(
    backbone=dict(norm_cfg=dict(type="SyncBN", requires_grad=True), norm_eval=False)
)
train_dataloader = dict(batch_size=16, num_workers=8)
