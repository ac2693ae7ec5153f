"""Configs at a single size, as the libraries write them, for tests of the recipes."""

CLASSIFY = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomResizedCrop", scale=224, backend="pillow"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackInputs"),
]


DETECT = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]


def classification(pipeline=CLASSIFY, **others):
    return dict(
        dict(
            default_scope="mmpretrain",
            model=dict(type="ImageClassifier", backbone=dict(type="ResNet")),
            train_pipeline=pipeline,
            train_dataloader=dict(
                batch_size=32,
                num_workers=2,
                sampler=dict(type="DefaultSampler", shuffle=True),
                dataset=dict(type="ImageNet", pipeline=pipeline),
            ),
            val_dataloader=dict(batch_size=32, dataset=dict(pipeline=pipeline)),
            train_cfg=dict(by_epoch=True, max_epochs=100),
        ),
        **others,
    )


def detection(pipeline=DETECT, dataset=None, **others):
    return dict(
        dict(
            default_scope="mmdet",
            model=dict(
                type="MaskRCNN",
                data_preprocessor=dict(type="DetDataPreprocessor", pad_size_divisor=32),
            ),
            train_dataloader=dict(
                batch_size=4,
                sampler=dict(type="DefaultSampler", shuffle=True),
                batch_sampler=dict(type="AspectRatioBatchSampler"),
                dataset=dataset or dict(type="CocoDataset", pipeline=pipeline),
            ),
            train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=12),
        ),
        **others,
    )


def twin(transform, **options):
    return dict(type="MultiScaleTransform", transform=transform, **options)


def with_transform(index, transform, pipeline=DETECT):
    return [*pipeline[:index], transform, *pipeline[index + 1 :]]


def pipeline_of(config):
    return config["train_dataloader"]["dataset"]["dataset"]["pipeline"]
