"""AGVM at batch 256, by the recipe released for Faster R-CNN.

No rate is published: mmdet gives RetinaNet half of Faster R-CNN's, so half of the
released 0.16 * sqrt(2).
"""

_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
    "../_base_/schedules/coco_sgd_agvm_16e.py",
]

model = dict(
    backbone=dict(norm_cfg=dict(type="SyncBN", requires_grad=True), norm_eval=False)
)
train_dataloader = dict(batch_size=16, num_workers=8)
optim_wrapper = dict(optimizer=dict(lr=0.08 * 2**0.5))
