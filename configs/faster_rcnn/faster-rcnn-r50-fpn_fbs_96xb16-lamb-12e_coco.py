"""Batch 1,536 with LAMB, a rival of AGVM: all else as in its config.

mmpretrain's LAMB. No rate is published for detection: mmpretrain's 0.005 for batch 2,048
on ImageNet (its A3 recipe) by the square root of the batch, as a start.
"""

_base_ = "./faster-rcnn-r50-fpn_agvm_96xb16-adamw-12e_coco.py"

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(
        type="mmpretrain.Lamb", lr=0.005 * (1536 / 2048) ** 0.5, weight_decay=0.02
    ),
)
# LAMB clips by itself, at every iteration.
custom_hooks = []
