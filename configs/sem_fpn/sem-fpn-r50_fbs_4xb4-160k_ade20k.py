"""Batch 16: mmsegmentation's own config, 4 crops of 512 x 512 a GPU. The baseline."""

_base_ = [
    "mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py",
    "../_base_/default_runtime_seg.py",
]

auto_scale_lr = dict(enable=False, base_batch_size=16)
