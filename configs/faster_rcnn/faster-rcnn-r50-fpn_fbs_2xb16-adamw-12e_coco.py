"""Batch 32 with plain AdamW, the baseline of the large batches.

The rate is mmdet's 1e-4 for 16 images by the square root of the batch; mmdet's warm-up.
"""

_base_ = "./faster-rcnn-r50-fpn_agvm_16xb16-adamw-12e_coco.py"

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4 * 2**0.5, weight_decay=0.05),
)
custom_hooks = []
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", milestones=[8, 11], gamma=0.1, by_epoch=True, end=12),
]
auto_scale_lr = dict(base_batch_size=32)
