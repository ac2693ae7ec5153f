"""MSc-VBSWC on nuclei: from half the base size to the base size, where it ends."""

_base_ = "mask-rcnn-r18_vbs_1xb8-16e_nuclei.py"

train_dataloader = dict(
    batch_sampler=dict(sizes=dict(min=128, max=256, num=5, divisor=32))
)
custom_hooks = [
    dict(
        type="ResolutionCurriculumHook",
        start_sizes=[128],
        end_sizes=[256],
        begin=0.05,
        end=0.9,
    )
]
