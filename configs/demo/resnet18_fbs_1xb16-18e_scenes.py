"""SSc-FBS: every image at 64 x 64, 16 a batch."""

_base_ = "_base_/resnet18_scenes.py"
