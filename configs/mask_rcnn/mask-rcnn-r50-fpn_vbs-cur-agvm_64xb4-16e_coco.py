"""MSc-VBSWC and AGVM together at batch 256.

Sizes as in the 8xb4 config; AGVM and 16 epochs as released for Mask R-CNN at batch 512,
with its rate by the square root of the batch. 64 GPUs have 256 images at 1024 x 1024,
and up to 1,024 at the small sizes of the start. So the warm-up is that of batch 512.
"""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/datasets/coco_bs4_512-1280.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
    "../_base_/schedules/coco_sgd_agvm_16e.py",
]

warmup_iters = 460
model = dict(
    backbone=dict(norm_cfg=dict(type="SyncBN", requires_grad=True), norm_eval=False)
)
optim_wrapper = dict(
    optimizer=dict(lr=0.32 / 2**0.5), agvm=dict(start_iter=warmup_iters + 100)
)
custom_hooks = [
    dict(type="ClipGradRangeHook", begin=warmup_iters - 100, end=warmup_iters + 100),
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[512, 640],
        begin=0.0,
        end=0.8,
    ),
]
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(gamma=1000 ** (1 / warmup_iters), end=warmup_iters + 1)
