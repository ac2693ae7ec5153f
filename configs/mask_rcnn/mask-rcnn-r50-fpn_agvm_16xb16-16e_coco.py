"""AGVM at batch 256, as released with arXiv 2210.11078 for MMDetection 2.

The rate is that of batch 512 by the square root of the batch; the warm-up is the
released one of Faster R-CNN.
"""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
    "../_base_/schedules/coco_sgd_agvm_16e.py",
]

model = dict(
    backbone=dict(norm_cfg=dict(type="SyncBN", requires_grad=True), norm_eval=False)
)
train_dataloader = dict(batch_size=16, num_workers=8)
optim_wrapper = dict(optimizer=dict(lr=0.32 / 2**0.5))
