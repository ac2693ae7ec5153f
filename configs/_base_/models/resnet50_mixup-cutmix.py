"""ResNet-50 with label smoothing, and one of mixup and CutMix for every batch.

Label smoothing 0.1, mixup alpha 0.2, CutMix alpha 1.0: CVNets' resnet_adv.yaml.
"""

_base_ = "mmpretrain::_base_/models/resnet50_label_smooth.py"

model = dict(
    train_cfg=dict(
        augments=[dict(type="Mixup", alpha=0.2), dict(type="CutMix", alpha=1.0)]
    )
)
