"""ImageNet-V2: a second test set of ImageNet-1k, 10 images a class.

The matched-frequency variant, unpacked as it is published: the folders are the labels
0 to 999, which a sort by name would put into another order.
Recht et al., *Do ImageNet Classifiers Generalize to ImageNet?*, ICML 2019.
"""

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
        data_root="data/imagenetv2-matched-frequency-format-val",
        num_classes=1000,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type="Accuracy", topk=(1, 5))
test_cfg = dict()
