"""MSc-VBS: sizes from 128 to 320, as many images as give 128 x 224 x 224 pixels.

Base 224, sizes in steps of 32, 128 images a GPU: arXiv 2309.04502.
"""

_base_ = "resnet50_fbs_8xb128-600e_in1k.py"

train_pipeline = list(_base_.train_pipeline)
train_pipeline[1] = dict(type="MultiScaleTransform", transform=train_pipeline[1])

train_dataloader = dict(
    batch_sampler=dict(
        type="MultiScaleVariableBatchSampler",
        base_size=224,
        sizes=[128, 160, 192, 224, 256, 288, 320],
    ),
    dataset=dict(
        _delete_=True,
        type="MultiScaleDataset",
        dataset=dict(
            type=_base_.dataset_type,
            data_root="data/imagenet",
            split="train",
            pipeline=train_pipeline,
        ),
    ),
)

custom_hooks = [
    _base_.ema_hook,
    dict(type="ResolutionCurriculumHook", schedule="constant"),
]
