"""RTMDet-S's two pipelines of mmdet with every size at the batch's.

A second base beside the one of mmdet, so under names of their own.
"""

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
multi_scale_pipeline = [
    *load,
    dict(
        type="MultiScaleTransform", transform=dict(type="CachedMosaic", pad_val=114.0)
    ),
    dict(type="MultiScaleTransform", transform=resize, size_ratio=2.0),
    *crop_to_pad,
    dict(type="MultiScaleTransform", transform=mix_up),
    dict(type="PackDetInputs"),
]
multi_scale_pipeline_stage2 = [
    *load,
    dict(type="MultiScaleTransform", transform=resize),
    *crop_to_pad,
    dict(type="PackDetInputs"),
]
