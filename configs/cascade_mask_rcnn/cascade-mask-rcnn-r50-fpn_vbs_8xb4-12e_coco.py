"""MSc-VBS: images within 693 x 416 to 1653 x 992, the pixels of 4 within 1333 x 800.

The sizes are those of `--recipe vbs`: half to 5/4 of the base, as in the published Mask
R-CNN.
"""

_base_ = "cascade-mask-rcnn-r50-fpn_fbs_8xb4-12e_coco.py"

train_dataset = _base_.train_dataloader.dataset
train_pipeline = train_dataset.pipeline
train_pipeline[2] = dict(
    type="MultiScaleTransform", transform=dict(type="Resize", keep_ratio=True)
)
train_dataloader = dict(
    batch_sampler=dict(
        _delete_=True,
        type="MultiScaleVariableBatchSampler",
        base_size=(800, 1333),
        sizes=[(side, round(side * 1333 / 800)) for side in range(416, 993, 64)],
        group_by_aspect_ratio=True,
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
custom_hooks = [dict(type="ResolutionCurriculumHook", schedule="constant")]
