"""RegNetX-12GF, SSc-FBS: the nearest that mmpretrain has to the published RegNetY-16GF.

CoreNet's projects/range_augment/classification/regnety_16gf.yaml: 150 epochs, 256 images
a GPU on 4 GPUs, else as ResNet-50 with repeated augmentation.
"""

_base_ = "../resnet/resnet50_fbs_8xb128-ra4-600e_in1k.py"

max_epochs = 150
model = dict(
    backbone=dict(_delete_=True, type="RegNet", arch="regnetx_12gf"),
    head=dict(in_channels=2240),
)
train_dataloader = dict(batch_size=256)
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(T_max=max_epochs, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
