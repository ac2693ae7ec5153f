"""MSc-VBS: sizes from 160 to 448, as many images as give 128 x 300 x 300 pixels.

CoreNet's projects/range_augment/classification/efficientnet_b3.yaml,
with RandAugment in the place of RangeAugment.
"""

_base_ = "efficientnet-b3_fbs_16xb128-400e_in1k.py"

train_dataset = _base_.train_dataloader.dataset
train_pipeline = train_dataset.pipeline
train_pipeline[1] = dict(type="MultiScaleTransform", transform=train_pipeline[1])
train_dataloader = dict(
    batch_sampler=dict(
        type="MultiScaleVariableBatchSampler",
        base_size=300,
        sizes=dict(min=160, max=448, num=10, divisor=32),
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
custom_hooks = [
    _base_.ema_hook,
    dict(type="ResolutionCurriculumHook", schedule="constant"),
]
