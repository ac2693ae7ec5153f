"""ImageNet-1k at 224 x 224, 256 images a GPU, with RandAugment.

As imagenet_bs256_224.py. RandAugment, with CVNets' settings, stands in for CoreNet's
RangeAugment.
"""

_base_ = "imagenet_bs256_224.py"

rand_augment = dict(
    type="RandAugment",
    policies="timm_increasing",
    num_policies=2,
    total_level=30,
    magnitude_level=9,
    magnitude_std=0.0,
)
train_pipeline = _base_.train_pipeline
train_pipeline.insert(3, rand_augment)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
