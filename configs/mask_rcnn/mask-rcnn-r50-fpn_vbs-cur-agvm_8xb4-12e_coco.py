"""MSc-VBSWC and AGVM together.

Base 1024 x 1024, ten sizes from 512 to 1280, images resized to exactly the size of
their batch, 4 images a GPU on 8 GPUs, SyncBN, steps at 60 % and 84 %: arXiv 2309.04502.
AGVM's defaults: arXiv 2210.11078. The schedule of 12 epochs, the start sizes and the
linear growth are our own choice.
"""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/datasets/coco_bs4_512-1280.py",
    "mmdet::_base_/schedules/schedule_1x.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
]

max_epochs = 12
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(backbone=dict(norm_cfg=norm_cfg, norm_eval=False))

custom_hooks = [
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[512, 640],
        begin=0.0,
        end=0.8,
    )
]
optim_wrapper = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="SGD", lr=0.04, momentum=0.9, weight_decay=1e-4),
    agvm=dict(interval=10, momentum=0.97, start_iter=600),
)
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        begin=0,
        end=max_epochs,
        by_epoch=True,
        milestones=[7, 10],
        gamma=0.1,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
