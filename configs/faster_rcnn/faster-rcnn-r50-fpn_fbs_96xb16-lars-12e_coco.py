"""Batch 1,536 with LARS, a rival of AGVM: all else as in its config.

mmpretrain's LARS. No rate is published for detection: that of mmpretrain's linear
evaluations, 1.6 for batch 4,096, by the linear rule, as a start.
"""

_base_ = "./faster-rcnn-r50-fpn_agvm_96xb16-adamw-12e_coco.py"

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(
        type="mmpretrain.LARS", lr=1.6 * 1536 / 4096, momentum=0.9, weight_decay=1e-4
    ),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
