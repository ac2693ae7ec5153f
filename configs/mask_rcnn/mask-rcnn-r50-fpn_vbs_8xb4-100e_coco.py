"""MSc-VBS: sizes from 512 to 1280, as many images as give 4 x 1024 x 1024 pixels.

arXiv 2309.04502; CVNets' mask_rcnn_coco/resnet_fpn.yaml.
"""

_base_ = [
    "../_base_/models/mask-rcnn_r50_fpn_syncbn.py",
    "../_base_/datasets/coco_bs4_512-1280.py",
    "../_base_/schedules/coco_sgd_multistep_100e.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
]

custom_hooks = [
    _base_.ema_hook,
    dict(type="ResolutionCurriculumHook", schedule="constant"),
]
