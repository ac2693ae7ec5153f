"""MSc-VBS: sizes from 320 to 800, as many images as give 32 x 640 x 640 pixels.

Every transform of mmdet's two pipelines that has a size follows the batch's, as with
`--recipe vbs`.
"""

_base_ = "rtmdet-s_fbs_8xb32-300e_coco.py"

resize = dict(type="RandomResize", ratio_range=(0.5, 2.0), keep_ratio=True)
pad = dict(type="Pad", pad_val=dict(img=(114, 114, 114)))
mix_up = dict(
    type="CachedMixUp",
    ratio_range=(1.0, 1.0),
    max_cached_images=20,
    pad_val=(114, 114, 114),
)
load = [
    dict(type="LoadImageFromFile", backend_args=None),
    dict(type="LoadAnnotations", with_bbox=True),
]
crop_to_pad = [
    dict(type="MultiScaleTransform", transform=dict(type="RandomCrop")),
    dict(type="YOLOXHSVRandomAug"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="MultiScaleTransform", transform=pad),
]
train_pipeline = [
    *load,
    dict(
        type="MultiScaleTransform", transform=dict(type="CachedMosaic", pad_val=114.0)
    ),
    dict(type="MultiScaleTransform", transform=resize, size_ratio=2.0),
    *crop_to_pad,
    dict(type="MultiScaleTransform", transform=mix_up),
    dict(type="PackDetInputs"),
]
train_pipeline_stage2 = [
    *load,
    dict(type="MultiScaleTransform", transform=resize),
    *crop_to_pad,
    dict(type="PackDetInputs"),
]
train_dataset = _base_.train_dataloader.dataset
train_dataset.pipeline = train_pipeline
train_dataloader = dict(
    batch_sampler=dict(
        _delete_=True,
        type="MultiScaleVariableBatchSampler",
        base_size=640,
        sizes=dict(min=320, max=800, num=10, divisor=32),
    ),
    dataset=dict(_delete_=True, type="MultiScaleDataset", dataset=train_dataset),
)
custom_hooks = _base_.custom_hooks
custom_hooks[1].update(switch_pipeline=train_pipeline_stage2)
custom_hooks.append(dict(type="ResolutionCurriculumHook", schedule="constant"))
