"""ResNet-18 for small images on CIFAR-10, SSc-FBS at 32 x 32: mmpretrain's own recipe."""

_base_ = [
    "mmpretrain::_base_/models/resnet18_cifar.py",
    "mmpretrain::_base_/datasets/cifar10_bs16.py",
    "mmpretrain::_base_/schedules/cifar10_bs128.py",
    "../_base_/default_runtime.py",
]
