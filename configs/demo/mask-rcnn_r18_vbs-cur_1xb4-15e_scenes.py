"""MSc-VBSWC: from half the base size to the base size, where the training ends."""

_base_ = "_base_/mask-rcnn_r18_scenes.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="MultiScaleTransform", transform=dict(type="Resize", keep_ratio=False)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(
    batch_sampler=dict(
        type="MultiScaleVariableBatchSampler",
        base_size=128,
        sizes=[64, 80, 96, 112, 128],
        # Measured by calibrate_batch_sizes.py: RoI heads cost by images.
        cost_model=dict(alpha=1.0, beta=30700.0),
    ),
    dataset=dict(
        _delete_=True,
        type="MultiScaleDataset",
        dataset=dict(
            type="CocoDataset",
            data_root=_base_.data_root,
            ann_file="annotations/instances_train.json",
            data_prefix=dict(img="train/"),
            metainfo=_base_.metainfo,
            pipeline=train_pipeline,
        ),
    ),
)
custom_hooks = [
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[64],
        end_sizes=[128],
        begin=0.05,
        end=0.9,
        lr_scaling="sqrt",
    )
]
