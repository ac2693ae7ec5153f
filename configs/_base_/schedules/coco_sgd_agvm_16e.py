"""The schedule released with AGVM (arXiv 2210.11078) for batch 256: 920 iterations of
warm-up, 16 epochs, clipping around the end of the warm-up."""

warmup_iters = 920

optim_wrapper = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="SGD", lr=0.16 * 2**0.5, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0, norm_type=2),
    agvm=dict(interval=10, momentum=0.97, start_iter=warmup_iters + 100),
)
custom_hooks = [
    dict(type="ClipGradRangeHook", begin=warmup_iters - 100, end=warmup_iters + 100)
]

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=16, val_interval=1)
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
    dict(type="MultiStepLR", milestones=[12, 14], gamma=0.1, by_epoch=True, end=16),
]
auto_scale_lr = dict(enable=False, base_batch_size=256)
