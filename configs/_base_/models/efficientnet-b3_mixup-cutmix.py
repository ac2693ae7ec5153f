"""EfficientNet-B3 with label smoothing, and one of mixup and CutMix for every batch.

Label smoothing 0.1, mixup alpha 0.2, CutMix alpha 1.0: CoreNet's efficientnet_b3.yaml.
"""

_base_ = "mmpretrain::_base_/models/efficientnet_b3.py"

model = dict(
    head=dict(loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1)),
    train_cfg=dict(
        augments=[dict(type="Mixup", alpha=0.2), dict(type="CutMix", alpha=1.0)]
    ),
)
