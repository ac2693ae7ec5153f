"""AGVM at batch 1,024.

No rate is published for SGD: the released 0.38 at batch 512 by the square root of the
batch. As with `--recipe agvm`: warm-up of as many images as at batch 512; clipping from
3 % of the training before its end to 3 % after it; AGVM starts 100 iterations after it;
a measurement every 5 iterations.
"""

_base_ = "./faster-rcnn-r50-fpn_agvm_16xb16-16e_coco.py"

warmup_iters = 230
optim_wrapper = dict(
    optimizer=dict(lr=0.38 * 2**0.5),
    agvm=dict(start_iter=warmup_iters + 100, interval=5),
)
custom_hooks = [
    dict(type="ClipGradRangeHook", begin=warmup_iters - 55, end=warmup_iters + 55)
]
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(gamma=1000 ** (1 / warmup_iters), end=warmup_iters + 1)
auto_scale_lr = dict(base_batch_size=1024)
