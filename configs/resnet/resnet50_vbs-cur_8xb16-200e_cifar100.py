"""MSc-VBSWC: from 24 pixels to the sizes of MSc-VBS over 80 % of the training."""

_base_ = "resnet50_vbs_8xb16-200e_cifar100.py"

custom_hooks = [
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[24],
        begin=0.0,
        end=0.8,
    )
]
