"""Two iterations of a config of each family: narrow models, small made images."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

pytest.importorskip("mmdet")
pytest.importorskip("mmpretrain")
pytest.importorskip("mmseg")

import families
import made_data

from tools.misc import zoo_costs

FILES = zoo_costs.zoo_configs()
TWO_CLASSES = {"model.head.num_classes": 2, "data_preprocessor.num_classes": 2}
DETECTOR = {**families.RESNET, **families.FPN, **families.RPN}
NARROW = {
    "model.neck.out_channels": 16,
    "model.backbone.init_cfg": None,
    **families.RPN,
}


def of(family, **more):
    """Return the settings that shrink a family's model, and more."""
    settings = dict(families.FAMILIES[family][1])
    settings.pop("model.dn_cfg.group_cfg.num_dn_queries", None)
    return {**settings, **more}


RETINANET = {
    "model.bbox_head.in_channels": 16,
    "model.bbox_head.feat_channels": 16,
    "model.bbox_head.stacked_convs": 1,
    "model.bbox_head.num_classes": 2,
}
# Config -> (settings, divisor of the sizes in its pipelines).
TRAINED = {
    "seresnet50_vbs-cur_8xb128-ra4-600e_in1k": (
        {**TWO_CLASSES, "model.backbone.base_channels": 16,
         "model.backbone.stem_channels": 16, "model.head.in_channels": 512},
        4,
    ),
    "regnetx-12gf_vbs-cur_4xb256-ra4-150e_in1k": (
        {**TWO_CLASSES, "model.backbone.arch": "regnetx_400mf",
         "model.head.in_channels": 384},
        4,
    ),
    "mobilenet-v2_vbs-cur_4xb256-300e_in1k": (TWO_CLASSES, 4),
    "mobilenet-v3-large_vbs-cur_4xb512-300e_in1k": (TWO_CLASSES, 4),
    "efficientnet-b1_vbs-cur_8xb256-400e_in1k": (TWO_CLASSES, 4),
    "swin-tiny_vbs-cur_8xb128-ra4-300e_in1k": (of("Swin"), 2),
    "convnext-tiny_vbs-cur_32xb128-300e_in1k": (of("ConvNeXt"), 2),
    "deit-small_vbs-cur_4xb256-300e_in1k": (of("ViT"), 4),
    "resnet18_vbs-cur_8xb16-200e_cifar10": (
        {**TWO_CLASSES, "model.backbone.base_channels": 8,
         "model.head.in_channels": 64},
        1,
    ),
    "mask-rcnn-mobilenet-v2-fpn_vbs-cur_8xb4-100e_coco": (NARROW, 10),
    "mask-rcnn-efficientnet-b3-fpn_vbs-cur_8xb4-100e_coco": (NARROW, 10),
    "mask-rcnn-swin-t-fpn_vbs-cur_8xb4-36e_coco": (
        {**NARROW, "model.backbone.embed_dims": 12, "model.backbone.depths": [1] * 4,
         "model.neck.in_channels": [12, 24, 48, 96]},
        10,
    ),
    "mask-rcnn-r50-fpn_vbs-cur-agvm_64xb4-16e_coco": (DETECTOR, 10),
    "faster-rcnn-r50-fpn_vbs-cur_8xb4-12e_coco": (DETECTOR, 10),
    "faster-rcnn-r50-fpn_agvm_96xb16-adamw-12e_coco": (DETECTOR, 10),
    "faster-rcnn-r50-fpn_fbs_96xb16-lamb-12e_coco": (DETECTOR, 10),
    "faster-rcnn-r50-fpn_fbs_96xb16-lars-12e_coco": (DETECTOR, 10),
    "cascade-mask-rcnn-r50-fpn_vbs-cur_8xb4-12e_coco": (DETECTOR, 10),
    "retinanet-r18-fpn_vbs-cur_8xb4-12e_coco": (
        {**families.RESNET, **families.FPN, **RETINANET}, 10),
    "retinanet-r18-fpn_agvm_640xb16-adamw-12e_coco": (
        {**families.RESNET, **families.FPN, **RETINANET}, 10),
    "panoptic-fpn-r50_agvm_32xb16-16e_coco": (of("panoptic FPN"), 10),
    "dino-4scale-r50_vbs-cur_8xb2-12e_coco": (
        of("DINO", **{"model.dn_cfg.group_cfg.num_dn_queries": 8}), 10),
    "rtmdet-s_vbs-cur_8xb32-300e_coco": (of("RTMDet"), 5),
    "sem-fpn-r50_agvm_16xb16-10k_ade20k": (of("Semantic FPN"), 8),
    "deeplabv3-r50_vbs-cur_4xb4-38k_ade20k": (
        families.segmentor(**{
            "model.decode_head.in_channels": 64,
            "model.auxiliary_head.in_channels": 32,
            "model.auxiliary_head.channels": 8,
            "model.auxiliary_head.num_classes": 2,
        }),
        8,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    made_data.write_images(root)
    return root


def with_small_sizes(config):
    """Replace the sizes of the batches: the pixels of two images at the base."""
    sampler = config.train_dataloader.get("batch_sampler")
    if (sampler or {}).get("type") != "MultiScaleVariableBatchSampler":
        return None
    sides = (24, 32, 40) if sampler.base_size == 32 else (64, 96, 128)
    sizes = [(side, side) for side in sides]
    if isinstance(sampler.base_size, (list, tuple)):
        sizes = [(64, 107), (96, 160)]
    sampler.update(base_size=sizes[1], sizes=sizes)
    for hook in config.custom_hooks:
        if hook.type == "ResolutionCurriculumHook":
            hook.start_sizes = [sizes[0]]
    return sizes[0]


def test_every_family_is_trained():
    trained = {Path(FILES[name]).parent.name for name in TRAINED}
    # ResNet on ImageNet-1k: test_imagenet_configs.py.
    assert trained == {Path(file).parent.name for file in FILES.values()}


@pytest.mark.parametrize("name", TRAINED)
def test_two_iterations(name, data, tmp_path):
    settings, divisor = TRAINED[name]
    config = Config.fromfile(FILES[name])
    config.merge_from_dict(settings)
    if "roi_head" in config.model:
        families.roi_heads(config, masks="faster" not in name)
    first = with_small_sizes(config)
    config = families.shrunk(config, divisor, data)
    wrapper = config.optim_wrapper
    if "agvm" in wrapper:
        wrapper.agvm.update(start_iter=0, interval=1)
    for hook in config.get("custom_hooks") or []:
        if hook.type == "PipelineSwitchHook":  # in the training's last epochs
            config.custom_hooks.remove(hook)
    runner, watch = families.trained(config, tmp_path, iterations=2)
    assert runner.iter == 2
    assert all(np.isfinite(watch.losses))
    if first is not None:  # the curriculum begins with its start sizes
        height, width = watch.shapes[0][0]
        assert height <= first[0] + 31 and width <= first[1] + 31
        assert watch.shapes[0][1] > config.train_dataloader.batch_size
    if "agvm" in wrapper:
        multipliers = runner.optim_wrapper.agvm.multipliers
        assert multipliers["backbone"] == 1.0
        assert len(multipliers) > 1
        assert all(np.isfinite(list(multipliers.values())))
