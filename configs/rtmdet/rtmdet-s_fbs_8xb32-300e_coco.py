"""SSc-FBS: mmdet's own config, 32 images at 640 x 640. The baseline."""

_base_ = [
    "mmdet::rtmdet/rtmdet_s_8xb32-300e_coco.py",
    "../_base_/default_runtime_det.py",
]

# mmdet's rate is for this batch; its config inherits 16 from the schedule.
auto_scale_lr = dict(enable=False, base_batch_size=256)
