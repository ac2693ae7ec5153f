"""Swin-S, SSc-FBS: but for depth and stochastic depth as Swin-T.

Drop path 0.3 as in mmpretrain's Swin-S.
"""

_base_ = "swin-tiny_fbs_8xb128-ra4-300e_in1k.py"

model = dict(backbone=dict(arch="small", drop_path_rate=0.3))
