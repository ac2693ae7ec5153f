"""Small detectors of mmdet, of its own configs."""

from mmengine.hub import get_config
from mmengine.registry import MODELS, DefaultScope

CONFIGS = dict(
    mask_rcnn="mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    faster_rcnn="faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    retinanet="retinanet/retinanet_r50_fpn_1x_coco.py",
    cascade="cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco.py",
)
CHANNELS = 16
ROIS = 64


def small_detector(name, **backbone):
    """An eighth of a ResNet-18's channels, 16 in the FPN and heads, 64 RoIs."""
    model = get_config("mmdet::" + CONFIGS[name]).model
    model.backbone.update(
        depth=18, base_channels=8, stem_channels=8, init_cfg=None, **backbone
    )
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=CHANNELS)
    for head in ("rpn_head", "bbox_head"):
        if head in model:
            model[head].update(in_channels=CHANNELS, feat_channels=CHANNELS)
    if "roi_head" in model:
        roi_head = model.roi_head
        roi_head.bbox_roi_extractor.out_channels = CHANNELS
        heads = roi_head.bbox_head
        for head in heads if isinstance(heads, list) else [heads]:
            head.update(in_channels=CHANNELS, fc_out_channels=32)
        if "mask_head" in roi_head:
            roi_head.mask_roi_extractor.out_channels = CHANNELS
            roi_head.mask_head.update(in_channels=CHANNELS, conv_out_channels=CHANNELS)
        stages = model.train_cfg.rcnn
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = ROIS
    with DefaultScope.overwrite_default_scope("mmdet"):
        return MODELS.build(model)
