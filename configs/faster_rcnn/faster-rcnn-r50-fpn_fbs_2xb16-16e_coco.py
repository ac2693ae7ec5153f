"""Batch 32 with plain SGD, the baseline of the large batches.

mmdet's rate of 0.02 is for 16 images, doubled by its linear rule; mmdet's warm-up. 16
epochs and SyncBN as in the released large-batch recipes.
"""

_base_ = "./faster-rcnn-r50-fpn_agvm_16xb16-16e_coco.py"

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.04, momentum=0.9, weight_decay=1e-4),
)
custom_hooks = []
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", milestones=[12, 14], gamma=0.1, by_epoch=True, end=16),
]
auto_scale_lr = dict(base_batch_size=32)
