"""MSc-VBSWC: the sizes of MSc-VBS, grown over the first 80 % of the training.

Start sizes and growth are our own choice.
"""

_base_ = "retinanet-r50-fpn_vbs_8xb4-12e_coco.py"

custom_hooks = [
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[(416, 693), (480, 800)],
        begin=0.0,
        end=0.8,
    )
]
