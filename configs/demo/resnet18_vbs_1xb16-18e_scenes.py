"""MSc-VBS: a batch's size is 48, 64 or 80 pixels, its number of images follows."""

_base_ = "_base_/resnet18_scenes.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="MultiScaleTransform",
        transform=dict(type="RandomResizedCrop", crop_ratio_range=(0.5, 1.0)),
    ),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
train_dataloader = dict(
    batch_sampler=dict(
        type="MultiScaleVariableBatchSampler",
        base_size=64,
        sizes=[48, 64, 80],
    ),
    dataset=dict(
        _delete_=True,
        type="MultiScaleDataset",
        dataset=dict(
            type="CustomDataset",
            data_root=_base_.data_root,
            data_prefix="train",
            with_label=True,
            pipeline=train_pipeline,
        ),
    ),
)

custom_hooks = [dict(type="ResolutionCurriculumHook", schedule="constant")]
