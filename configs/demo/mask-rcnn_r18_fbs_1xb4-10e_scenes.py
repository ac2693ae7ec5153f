"""SSc-FBS short: as many epochs as the compute of the curriculum's training buys."""

_base_ = "_base_/mask-rcnn_r18_scenes.py"

max_epochs = 10
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type="CosineAnnealingLR",
        T_max=max_epochs,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
