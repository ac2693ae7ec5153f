"""MSc-VBS: mmdet's eleven sizes for whole batches, the pixels of 2 within 1333 x 800.

The sizes are those of `--recipe vbs`: mmdet's short sides from 480 to 800 with the
proportions of the base.
"""

_base_ = "dino-4scale-r50_fbs_8xb2-12e_coco.py"

train_dataset = _base_.train_dataloader.dataset
train_pipeline = train_dataset.pipeline
train_pipeline[4] = dict(
    type="MultiScaleTransform", transform=dict(type="Resize", keep_ratio=True)
)
train_dataloader = dict(
    batch_sampler=dict(
        _delete_=True,
        type="MultiScaleVariableBatchSampler",
        base_size=(800, 1333),
        sizes=[(side, round(side * 1333 / 800)) for side in range(480, 801, 32)],
        group_by_aspect_ratio=True,
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
custom_hooks = [dict(type="ResolutionCurriculumHook", schedule="constant")]
