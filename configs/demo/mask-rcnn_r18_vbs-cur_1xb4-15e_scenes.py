"""MSc-VBSWC: 96, 128 or 160 pixels and as many images as fit, grown from 96."""

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
        sizes=[96, 128, 160],
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
        start_sizes=[96],
        begin=0.0,
        end=0.8,
    )
]
