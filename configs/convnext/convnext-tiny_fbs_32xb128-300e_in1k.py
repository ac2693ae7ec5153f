"""ConvNeXt-T, SSc-FBS: mmpretrain's own config, batch and rate. The baseline.

Neither paper has a ConvNeXt.
"""

_base_ = [
    "mmpretrain::_base_/models/convnext/convnext-tiny.py",
    "mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py",
    "mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py",
    "../_base_/default_runtime.py",
]

train_dataloader = dict(batch_size=128, collate_fn=dict(type="default_collate"))
optim_wrapper = dict(optimizer=dict(lr=4e-3), clip_grad=None)
ema_hook = dict(type="EMAHook", momentum=1e-4, priority="ABOVE_NORMAL")
custom_hooks = [ema_hook]
auto_scale_lr = dict(base_batch_size=4096)
