"""MSc-VBS with repeated augmentation: 128 to 320, 128 x 224 x 224 pixels a batch.

CoreNet's projects/range_augment/classification/resnet_50.yaml, with RandAugment in the
place of RangeAugment.
"""

_base_ = "resnet50_fbs_8xb128-ra4-600e_in1k.py"

train_dataset = _base_.train_dataloader.dataset
train_pipeline = train_dataset.pipeline
train_pipeline[1] = dict(type="MultiScaleTransform", transform=train_pipeline[1])
train_dataloader = dict(
    batch_sampler=dict(
        type="MultiScaleVariableBatchSampler",
        base_size=224,
        sizes=dict(min=128, max=320, num=7, divisor=32),
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
custom_hooks = [
    _base_.ema_hook,
    dict(type="ResolutionCurriculumHook", schedule="constant"),
]
