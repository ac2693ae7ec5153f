"""AGVM at batch 10,240 with AdamW, 144 iterations in all.

The paper trains RetinaNet R18 at batch 10,000; its rate is not known to us: mmdet's
1e-4 for 16 images by the square root of the batch. Warm-up of an eighth of the training
and a measurement at every iteration, as with `--recipe agvm`.
"""

_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
    "../_base_/schedules/coco_adamw_agvm_12e.py",
]

model = dict(
    backbone=dict(
        depth=18,
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        norm_eval=False,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet18"),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
train_dataloader = dict(batch_size=16, num_workers=8)

warmup_iters = 18
optim_wrapper = dict(
    optimizer=dict(lr=1e-4 * 640**0.5),
    agvm=dict(start_iter=warmup_iters + 22, interval=1, momentum=0.952),
)
custom_hooks = [
    dict(type="ClipGradRangeHook", begin=warmup_iters - 4, end=warmup_iters + 4)
]
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(gamma=1000 ** (1 / warmup_iters), end=warmup_iters + 1)
auto_scale_lr = dict(base_batch_size=10240)
