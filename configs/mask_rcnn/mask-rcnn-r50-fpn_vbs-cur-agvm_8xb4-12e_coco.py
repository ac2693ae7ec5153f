"""MSc-VBSWC and AGVM together.

Base 1024 x 1024, ten sizes from 512 to 1280, images resized to exactly the size of
their batch, 4 images a GPU on 8 GPUs, SyncBN, steps at 60 % and 84 %: arXiv 2309.04502.
AGVM's defaults: arXiv 2210.11078. The schedule of 12 epochs, the start sizes and the
linear growth are our own choice.
"""

_base_ = [
    "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "../_base_/default_runtime_det.py",
]

max_epochs = 12
norm_cfg = dict(type="SyncBN", requires_grad=True)
model = dict(backbone=dict(norm_cfg=norm_cfg, norm_eval=False))

train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(
        type="MultiScaleTransform",
        transform=dict(type="Resize", keep_ratio=False),
    ),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataset = dict(
    type="CocoDataset",
    data_root="data/coco/",
    ann_file="annotations/instances_train2017.json",
    data_prefix=dict(img="train2017/"),
    filter_cfg=dict(filter_empty_gt=True, min_size=32),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    batch_sampler=dict(
        _delete_=True,
        type="MultiScaleVariableBatchSampler",
        base_size=1024,
        sizes=dict(min=512, max=1280, num=10, divisor=32),
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
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
