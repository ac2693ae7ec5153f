"""MSc-VBSWC: the sizes of MSc-VBS, grown from the smallest."""

_base_ = "resnet18_vbs_1xb16-18e_scenes.py"

custom_hooks = [
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[48],
        begin=0.0,
        end=0.8,
    )
]
