"""Detectors small enough to train from scratch on one core in minutes."""

from __future__ import annotations

from typing import Any, Dict, List

from mmengine.config import ConfigDict

_CONFIGS = {
    "faster-rcnn": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "faster-rcnn-swin": "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "mask-rcnn": "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "panoptic-fpn": "mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py",
    "retinanet": "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py",
}
NAMES = tuple(_CONFIGS)

CHANNELS = (16, 32, 64, 128)  # of ResNet-18's stages: a quarter of the usual ones
SWIN_CHANNELS = (24, 48, 96, 192)
FEATURES = 32  # channels of the feature pyramid and the heads
ROIS = 32  # per image, in training


def detector(name: str, num_classes: int = 4, num_levels: int = 4) -> ConfigDict:
    """Return the config of a small detector.

    ResNet-18 with a quarter of the channels and batch norm that trains, or a Swin
    transformer of 24 channels; a feature pyramid of 32 channels, square anchors, 32
    RoIs per image; from scratch.

    Args:
        name: One of :data:`NAMES`.
        num_classes: Number of categories. Defaults to 4.
        num_levels: Levels of the feature pyramid, of strides 4, 8, ..., at most 4;
            the backbone has as many stages. Defaults to 4.

    Returns:
        ConfigDict: What ``MODELS`` builds in mmdet's scope.
    """
    from mmengine.hub import get_config

    if name not in _CONFIGS:
        raise ValueError(f"model must be one of {', '.join(NAMES)}, but got {name!r}.")
    if num_levels not in (2, 3, 4):
        raise ValueError(f"num_levels must be 2, 3 or 4, but got {num_levels!r}.")
    model = ConfigDict(get_config(_CONFIGS[name]).model.to_dict())
    # Batches of 48 px stay 48 px.
    model["data_preprocessor"]["pad_size_divisor"] = 16
    strides = [4 * 2**level for level in range(num_levels)]
    channels = SWIN_CHANNELS if name.endswith("swin") else CHANNELS
    model["backbone"] = ConfigDict(
        _swin(num_levels) if name.endswith("swin") else _resnet(num_levels)
    )
    model["neck"] = ConfigDict(
        type="FPN",
        in_channels=list(channels[:num_levels]),
        out_channels=FEATURES,
        num_outs=num_levels,
    )
    if name == "retinanet":
        _shrink_one_stage(model, num_classes, strides)
    else:
        _shrink_two_stages(model, num_classes, strides)
    if name == "panoptic-fpn":
        # One category of stuff, the background. Images are a hundred times smaller
        # than COCO's, and so is the smallest piece of stuff that counts.
        # Its head doubles the size of each level until all are alike.
        model["data_preprocessor"]["pad_size_divisor"] = strides[-1]
        kinds = dict(num_things_classes=num_classes, num_stuff_classes=1)
        model["semantic_head"].update(
            in_channels=FEATURES, inner_channels=FEATURES, end_level=num_levels, **kinds
        )
        model["semantic_head"]["norm_cfg"] = ConfigDict(type="BN", requires_grad=True)
        model["panoptic_fusion_head"].update(kinds)
        model["test_cfg"]["panoptic"]["stuff_area_limit"] = 40
    return model


def _resnet(num_levels: int) -> Dict[str, Any]:
    return dict(
        type="ResNet",
        depth=18,
        base_channels=CHANNELS[0],
        stem_channels=CHANNELS[0],
        num_stages=num_levels,
        strides=(1, 2, 2, 2)[:num_levels],
        dilations=(1,) * num_levels,
        out_indices=tuple(range(num_levels)),
        frozen_stages=-1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=False,
        style="pytorch",
    )


def _swin(num_levels: int) -> Dict[str, Any]:
    return dict(
        type="SwinTransformer",
        embed_dims=SWIN_CHANNELS[0],
        depths=(2,) * num_levels,
        num_heads=(1, 2, 4, 8)[:num_levels],
        strides=(4, 2, 2, 2)[:num_levels],
        window_size=4,
        mlp_ratio=2,
        drop_path_rate=0.0,
        out_indices=tuple(range(num_levels)),
    )


def _anchors(strides: List[int]) -> Dict[str, Any]:
    return dict(type="AnchorGenerator", scales=[3], ratios=[1.0], strides=strides)


def _shrink_one_stage(
    model: Dict[str, Any], num_classes: int, strides: List[int]
) -> None:
    model["bbox_head"].update(
        num_classes=num_classes,
        in_channels=FEATURES,
        feat_channels=FEATURES,
        stacked_convs=2,
    )
    # Not by update, which merges: its octaves exclude scales.
    model["bbox_head"]["anchor_generator"] = ConfigDict(_anchors(strides))
    model["test_cfg"].update(nms_pre=200)


def _shrink_two_stages(
    model: Dict[str, Any], num_classes: int, strides: List[int]
) -> None:
    model["rpn_head"].update(
        in_channels=FEATURES,
        feat_channels=FEATURES,
        anchor_generator=_anchors(strides),
    )
    roi = model["roi_head"]
    roi["bbox_roi_extractor"].update(out_channels=FEATURES, featmap_strides=strides)
    # 56 splits RoIs among levels for images of 800 px; the objects here are smaller.
    roi["bbox_roi_extractor"]["finest_scale"] = 14
    roi["bbox_head"].update(
        in_channels=FEATURES, fc_out_channels=4 * FEATURES, num_classes=num_classes
    )
    if "mask_head" in roi:
        roi["mask_roi_extractor"].update(
            out_channels=FEATURES, featmap_strides=strides, finest_scale=14
        )
        roi["mask_head"].update(
            num_convs=2,
            in_channels=FEATURES,
            conv_out_channels=FEATURES,
            num_classes=num_classes,
        )
    train, test = model["train_cfg"], model["test_cfg"]
    train["rpn"]["sampler"]["num"] = 64
    train["rcnn"]["sampler"]["num"] = ROIS
    train["rpn_proposal"].update(nms_pre=100, max_per_img=50)
    test["rpn"].update(nms_pre=100, max_per_img=50)
