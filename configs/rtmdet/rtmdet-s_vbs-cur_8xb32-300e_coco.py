"""MSc-VBSWC: the sizes of MSc-VBS, grown over the first 80 % of the training.

Start sizes and growth are our own choice.
"""

_base_ = "rtmdet-s_vbs_8xb32-300e_coco.py"

custom_hooks = _base_.custom_hooks
custom_hooks[2].update(schedule="linear", start_sizes=[320, 384], begin=0.0, end=0.8)
