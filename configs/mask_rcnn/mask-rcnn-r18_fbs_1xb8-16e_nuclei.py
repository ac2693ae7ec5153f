"""SSc-FBS on nuclei: one size, 256 pixels, the baseline."""

_base_ = [
    "../_base_/models/mask-rcnn_r18_small.py",
    "../_base_/datasets/nuclei_bs8_256.py",
    "../_base_/schedules/nuclei_adamw_16e.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
]

randomness = dict(seed=0)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(interval=4, max_keep_ckpts=1),
)
