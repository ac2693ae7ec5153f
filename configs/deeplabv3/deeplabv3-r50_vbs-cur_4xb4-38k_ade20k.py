"""MSc-VBSWC: the sizes of MSc-VBS, grown over the first 80 % of the training.

38,000 iterations show about as many crops as 80,000 at one size. Start sizes and growth
are our own choice.
"""

_base_ = "deeplabv3-r50_vbs_4xb4-50k_ade20k.py"

max_iters = 38000
custom_hooks = [
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[256, 288],
        begin=0.0,
        end=0.8,
    )
]
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=max_iters)
train_cfg = dict(max_iters=max_iters, val_interval=3800)
default_hooks = dict(checkpoint=dict(interval=3800))
