"""Mask R-CNN Swin-T, SSc-FBS: every batch has 4 images at 1024 x 1024. The baseline.

Neither paper has a recipe: sizes and batch of the published Mask R-CNN, optimizer and
schedule of mmdet's 3x config. Its rate is for 16 images, doubled here for 32 by mmdet's
linear rule.
"""

_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "../_base_/datasets/coco_bs4_1024.py",
    "../_base_/schedules/coco_adamw_36e.py",
    "mmdet::_base_/default_runtime.py",
    "../_base_/default_runtime_det.py",
]

pretrained = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_tiny_patch4_window7_224.pth"
model = dict(
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        drop_path_rate=0.2,
        convert_weights=True,
        init_cfg=dict(type="Pretrained", checkpoint=pretrained),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
