"""Batch 512 with plain AdamW, the rival of AGVM: all else as in its config."""

_base_ = "./faster-rcnn-r50-fpn_agvm_32xb16-adamw-12e_coco.py"

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4 * 32**0.5, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
