"""SSc-FBS: mmsegmentation's own config, 4 crops of 512 x 512. The baseline."""

_base_ = [
    "mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-80k_ade20k-512x512.py",
    "../_base_/default_runtime_seg.py",
]

auto_scale_lr = dict(enable=False, base_batch_size=16)
