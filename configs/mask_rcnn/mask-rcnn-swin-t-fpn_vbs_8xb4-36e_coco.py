"""MSc-VBS: sizes from 512 to 1280, as many images as give 4 x 1024 x 1024 pixels.

The sizes are those of the published Mask R-CNN.
"""

_base_ = "mask-rcnn-swin-t-fpn_fbs_8xb4-36e_coco.py"

train_dataset = _base_.train_dataloader.dataset
train_pipeline = train_dataset.pipeline
train_pipeline[2] = dict(
    type="MultiScaleTransform", transform=dict(type="Resize", keep_ratio=False)
)
train_dataloader = dict(
    batch_sampler=dict(
        _delete_=True,
        type="MultiScaleVariableBatchSampler",
        base_size=1024,
        sizes=dict(min=512, max=1280, num=10, divisor=32),
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
custom_hooks = [dict(type="ResolutionCurriculumHook", schedule="constant")]
