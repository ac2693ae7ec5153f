"""AGVM at batch 512, as released with arXiv 2210.11078 for MMDetection 2.

The rate, 0.38, and 460 iterations of warm-up are the released ones.
"""

_base_ = "./faster-rcnn-r50-fpn_agvm_16xb16-16e_coco.py"

# Half as many iterations of warm-up as at batch 256.
warmup_iters = 460
optim_wrapper = dict(optimizer=dict(lr=0.38), agvm=dict(start_iter=warmup_iters + 100))
custom_hooks = [
    dict(type="ClipGradRangeHook", begin=warmup_iters - 100, end=warmup_iters + 100)
]
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(gamma=1000 ** (1 / warmup_iters), end=warmup_iters + 1)
auto_scale_lr = dict(base_batch_size=512)
