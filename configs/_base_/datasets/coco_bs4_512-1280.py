"""COCO instances, ten sizes from 512 to 1280, as many images as give 4 x 1024 x 1024.

Images are resized to exactly the size of their batch. CVNets'
mask_rcnn_coco/resnet_fpn.yaml.
"""

_base_ = "coco_bs4_1024.py"

train_pipeline = list(_base_.train_pipeline)
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
    dataset=dict(
        _delete_=True,
        type="MultiScaleDataset",
        dataset=dict(
            type=_base_.dataset_type,
            data_root=_base_.data_root,
            ann_file="annotations/instances_train2017.json",
            data_prefix=dict(img="train2017/"),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=train_pipeline,
        ),
    ),
)
