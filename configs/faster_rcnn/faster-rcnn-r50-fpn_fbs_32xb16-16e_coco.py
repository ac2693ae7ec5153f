"""Batch 512 with plain SGD, the rival of AGVM: all else as in its config."""

_base_ = "./faster-rcnn-r50-fpn_agvm_32xb16-16e_coco.py"

optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.38, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
