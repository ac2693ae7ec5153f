"""AGVM at batch 512, by the recipe released for Mask R-CNN.

No rate is published for Panoptic FPN: Mask R-CNN's 0.32.
"""

_base_ = [
    "mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py",
    "../_base_/default_runtime_det.py",
]

warmup_iters = 460
model = dict(
    backbone=dict(norm_cfg=dict(type="SyncBN", requires_grad=True), norm_eval=False)
)
train_dataloader = dict(batch_size=16, num_workers=8)
optim_wrapper = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(lr=0.32),
    clip_grad=dict(max_norm=1.0, norm_type=2),
    agvm=dict(interval=10, momentum=0.97, start_iter=warmup_iters + 100),
)
custom_hooks = [
    dict(type="ClipGradRangeHook", begin=warmup_iters - 100, end=warmup_iters + 100)
]
# The exponential warm-up from 0.001 is the product of the first two schedulers.
param_scheduler = [
    dict(type="ConstantLR", factor=0.001, by_epoch=False, begin=0, end=1000000000),
    dict(
        type="ExponentialLR",
        gamma=1000 ** (1 / warmup_iters),
        by_epoch=False,
        begin=0,
        end=warmup_iters + 1,
    ),
    dict(type="MultiStepLR", milestones=[12, 14], gamma=0.1, by_epoch=True, end=16),
]
train_cfg = dict(max_epochs=16)
auto_scale_lr = dict(base_batch_size=512)
