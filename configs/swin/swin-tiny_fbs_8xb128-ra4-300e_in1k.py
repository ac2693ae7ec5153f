"""Swin-T, SSc-FBS: every batch has 128 images at 224 x 224. The baseline.

CoreNet's projects/range_augment/classification/swin_transformer_tiny.yaml, with
RandAugment in the place of RangeAugment. The schedule is mmpretrain's, which has the
same rates, and the test is at 232 -> 224.
"""

_base_ = [
    "mmpretrain::_base_/models/swin_transformer/tiny_224.py",
    "../_base_/datasets/imagenet_bs128-ra4_224.py",
    "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py",
    "../_base_/default_runtime.py",
]

model = dict(
    # For maps below the window of 7 x 7, at sizes below 224; at 224 without effect.
    backbone=dict(pad_small_map=True),
    train_cfg=dict(
        augments=[dict(type="Mixup", alpha=0.2), dict(type="CutMix", alpha=1.0)]
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=5.0))
ema_hook = dict(type="EMAHook", momentum=5e-4, update_buffers=True)
custom_hooks = [ema_hook]
