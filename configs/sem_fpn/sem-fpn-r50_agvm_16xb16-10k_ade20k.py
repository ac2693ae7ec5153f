"""AGVM at batch 256, as many crops as the baseline's 160,000 iterations at 16.

No rate is published: mmsegmentation's 0.01 at batch 16 by the square root of the batch.
Warm-up and clipping as released for Faster R-CNN at batch 256; what
`--recipe agvm --recipe-options batch_size=256` gives.
"""

_base_ = "sem-fpn-r50_fbs_4xb4-160k_ade20k.py"

max_iters, warmup_iters = 10000, 920
train_dataloader = dict(batch_size=16, num_workers=8)
optim_wrapper = dict(
    _delete_=True,
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="SGD", lr=0.04, momentum=0.9, weight_decay=5e-4),
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
    # From the end of the warm-up, which begins below its eta_min, four times as high.
    dict(
        type="PolyLR",
        eta_min=4e-4,
        power=0.9,
        begin=warmup_iters,
        end=max_iters,
        by_epoch=False,
    ),
]
train_cfg = dict(max_iters=max_iters, val_interval=1000)
default_hooks = dict(checkpoint=dict(interval=1000))
auto_scale_lr = dict(base_batch_size=256)
