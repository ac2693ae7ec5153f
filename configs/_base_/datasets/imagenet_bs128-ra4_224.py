"""ImageNet-1k at 224 x 224, 128 images a GPU, repeated augmentation.

As in CoreNet's projects/range_augment: each epoch has four views of a quarter of the
images. RandAugment stands in for CoreNet's RangeAugment.
"""

_base_ = "imagenet_bs256-randaug_224.py"

train_dataloader = dict(
    batch_size=128,
    sampler=dict(_delete_=True, type="RepeatAugSampler", num_repeats=4, shuffle=True),
)
