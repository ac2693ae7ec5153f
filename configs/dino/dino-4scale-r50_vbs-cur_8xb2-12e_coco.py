"""MSc-VBSWC: the sizes of MSc-VBS, grown over the first 80 % of the training.

Start sizes and growth are our own choice.
"""

_base_ = "dino-4scale-r50_vbs_8xb2-12e_coco.py"

custom_hooks = [
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[(480, 800), (512, 853)],
        begin=0.0,
        end=0.8,
    )
]
