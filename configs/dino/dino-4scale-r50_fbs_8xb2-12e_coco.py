"""SSc-FBS: mmdet's config, but all images within 1333 x 800. The baseline.

mmdet draws the short side of each image from 480 to 800; the crop that it gives to half
of the images stays.
"""

_base_ = [
    "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py",
    "../_base_/default_runtime_det.py",
]

train_pipeline = _base_.train_pipeline
resize, crop, _ = train_pipeline[3].transforms[1]
train_pipeline[3:4] = [
    dict(type="RandomApply", transforms=[resize, crop], prob=0.5),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
auto_scale_lr = dict(enable=False)
