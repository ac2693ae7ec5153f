"""What the test sets around ImageNet-1k have in common, for tools/test.py --test-data."""

custom_imports = dict(imports=["mms_plugin"], allow_failed_imports=False)

data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=256, edge="short"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]
test_dataloader = dict(
    batch_size=64,
    num_workers=4,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ImageNetVariant",
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type="Accuracy", topk=(1, 5))
test_cfg = dict()
