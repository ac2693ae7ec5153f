"""MobileNetV3-Large, SSc-FBS: every batch has 512 images at 224 x 224. The baseline.

CoreNet's projects/range_augment/classification/mobilenet_v3.yaml, at one size and
without RangeAugment.
"""

_base_ = [
    "mmpretrain::_base_/models/mobilenet_v3/mobilenet_v3_large_imagenet.py",
    "../_base_/datasets/imagenet_bs256_224.py",
    "../_base_/schedules/imagenet_sgd_coslr_bs2048.py",
    "../_base_/default_runtime.py",
]

max_epochs = 300
model = dict(head=dict(loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1)))
train_dataloader = dict(batch_size=512)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(T_max=max_epochs, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
