"""AdamW with AGVM at batch 1,536.

The rate is mmdet's 1e-4 for 16 images by the square root of the batch. Warm-up,
clipping and AGVM's start as with `--recipe agvm`, after an eighth of the training. It
measures every 5 iterations.
"""

_base_ = "./faster-rcnn-r50-fpn_agvm_16xb16-adamw-12e_coco.py"

warmup_iters = 115
optim_wrapper = dict(
    optimizer=dict(lr=1e-4 * 96**0.5),
    agvm=dict(start_iter=warmup_iters + 100, interval=5, momentum=0.965),
)
custom_hooks = [
    dict(type="ClipGradRangeHook", begin=warmup_iters - 28, end=warmup_iters + 28)
]
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(gamma=1000 ** (1 / warmup_iters), end=warmup_iters + 1)
auto_scale_lr = dict(base_batch_size=1536)
