"""MSc-VBSWC: the sizes of MSc-VBS, grown over the first 80 % of the training.

Start sizes and growth are our own choice: the published curriculum is not known.
"""

_base_ = "mobilenet-v3-large_vbs_4xb512-300e_in1k.py"

custom_hooks = [
    _base_.ema_hook,
    dict(
        type="ResolutionCurriculumHook",
        schedule="linear",
        start_sizes=[128, 160],
        begin=0.0,
        end=0.8,
    ),
]
