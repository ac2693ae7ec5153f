"""MSc-VBS on nuclei: sizes from half to one and a quarter of the base size.

Batches cost alike, RoI heads included: there a pixel budget leaves too few updates.
"""

_base_ = "mask-rcnn-r18_fbs_1xb8-16e_nuclei.py"

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=False),
    dict(type="MultiScaleTransform", transform=dict(type="Resize", keep_ratio=True)),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(
    batch_sampler=dict(
        _delete_=True,
        type="MultiScaleVariableBatchSampler",
        base_size=256,
        sizes=dict(min=128, max=320, num=7, divisor=32),
        # An image costs 43,600 pixels beside its own: docs/batch_sizes.md.
        cost_model=dict(alpha=1.0, beta=43600.0),
        group_by_aspect_ratio=True,
    ),
    dataset=dict(
        _delete_=True,
        type="MultiScaleDataset",
        dataset=dict(
            type="CocoDataset",
            data_root="data/nuclei/",
            metainfo=dict(classes=("nucleus",)),
            ann_file="annotations/instances_train.json",
            data_prefix=dict(img="train/"),
            filter_cfg=dict(filter_empty_gt=True),
            pipeline=train_pipeline,
        ),
    ),
)

custom_hooks = [dict(type="ResolutionCurriculumHook", schedule="constant")]
