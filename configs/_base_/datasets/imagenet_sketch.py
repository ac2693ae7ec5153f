"""ImageNet-Sketch: drawings of ImageNet-1k's 1,000 classes.

Unpacked as it is published: a folder for each WordNet id.
Wang et al., *Learning Robust Global Representations by Penalizing Local Predictive
Power*, NeurIPS 2019.
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
        data_root="data/imagenet-sketch",
        num_classes=1000,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type="Accuracy", topk=(1, 5))
test_cfg = dict()
