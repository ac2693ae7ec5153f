"""SSc-FBS: mmdet's own config, 32 images at 640 x 640. The baseline."""

_base_ = [
    "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py",
    "../_base_/default_runtime_det.py",
]
