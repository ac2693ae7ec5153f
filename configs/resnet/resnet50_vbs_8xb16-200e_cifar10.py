"""MSc-VBS at 24, 32 and 40 pixels, as many images as give 16 x 32 x 32 pixels.

Nobody has published sizes for images so small: these are a start.
"""

_base_ = "resnet50_fbs_8xb16-200e_cifar10.py"

train_dataset = _base_.train_dataloader.dataset
train_pipeline = train_dataset.pipeline
train_pipeline.insert(
    1, dict(type="MultiScaleTransform", transform=dict(type="Resize"))
)
train_dataloader = dict(
    batch_sampler=dict(
        type="MultiScaleVariableBatchSampler", base_size=32, sizes=[24, 32, 40]
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
custom_hooks = [dict(type="ResolutionCurriculumHook", schedule="constant")]
