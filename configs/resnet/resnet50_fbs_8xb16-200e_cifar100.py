"""ResNet-50 for small images on CIFAR-100, SSc-FBS at 32 x 32: mmpretrain's own recipe."""

_base_ = [
    "mmpretrain::_base_/models/resnet50_cifar.py",
    "mmpretrain::_base_/datasets/cifar100_bs16.py",
    "mmpretrain::_base_/schedules/cifar10_bs128.py",
    "../_base_/default_runtime.py",
]

model = dict(head=dict(num_classes=100))
# mmpretrain's values for ResNet-50 on CIFAR-100.
optim_wrapper = dict(optimizer=dict(weight_decay=5e-4))
param_scheduler = dict(milestones=[60, 120, 160], gamma=0.2)
