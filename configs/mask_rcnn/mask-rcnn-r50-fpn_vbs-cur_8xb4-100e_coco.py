"""MSc-VBSWC: the sizes of MSc-VBS, grown over the first 80 % of the training.

The published curriculum grows the range in steps at given epochs; the start sizes
and the linear growth here are our own choice.
"""

_base_ = "mask-rcnn-r50-fpn_vbs_8xb4-100e_coco.py"

custom_hooks = [
    _base_.ema_hook,
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[512, 608],
        begin=0.0,
        end=0.8,
    ),
]
