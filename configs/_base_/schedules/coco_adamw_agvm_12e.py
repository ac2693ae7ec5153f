"""AdamW with AGVM (arXiv 2210.11078) at batch 256: 12 epochs, steps at 8 and 11.

The published runs with AdamW have 12 epochs: 43,980 iterations at batch 32. Their rates
are not known to us: mmdet's 1e-4 for 16 images (Swin) by the square root of the batch.
Warm-up of an eighth of the training, as with `--recipe agvm`.
"""

warmup_iters = 688

optim_wrapper = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=1e-4 * 16**0.5, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0, norm_type=2),
    agvm=dict(interval=10, momentum=0.97, start_iter=warmup_iters + 100),
)
custom_hooks = [
    dict(type="ClipGradRangeHook", begin=warmup_iters - 100, end=warmup_iters + 100)
]

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=12, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
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
    dict(type="MultiStepLR", milestones=[8, 11], gamma=0.1, by_epoch=True, end=12),
]
auto_scale_lr = dict(enable=False, base_batch_size=256)
