"""One config of each family of models, shrunk until it trains in a second.

Widths, depths and image sizes are made small; what the family is stays: its pipeline,
its heads and losses, its data preprocessor.
"""

import made_data
import numpy as np

RESNET = {
    "model.backbone.depth": 18,
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.backbone.frozen_stages": -1,
    "model.backbone.norm_eval": False,
    "model.backbone.norm_cfg": dict(type="BN", requires_grad=True),
    "model.backbone.init_cfg": None,
}
MAPS = [8, 16, 32, 64]
FPN = {"model.neck.in_channels": MAPS, "model.neck.out_channels": 16}
RPN = {"model.rpn_head.in_channels": 16, "model.rpn_head.feat_channels": 16}


def transformer(layers, *attentions, width=16):
    """Return the settings of a small encoder or decoder."""
    settings = {f"{layers}.num_layers": 1}
    for attention in attentions:
        settings[f"{layers}.layer_cfg.{attention}.embed_dims"] = width
        settings[f"{layers}.layer_cfg.{attention}.num_heads"] = 2
    settings[f"{layers}.layer_cfg.ffn_cfg.embed_dims"] = width
    settings[f"{layers}.layer_cfg.ffn_cfg.feedforward_channels"] = 32
    return settings


def detr_like(channels, width=16):
    attentions = ("self_attn_cfg", "cross_attn_cfg")
    return {
        **RESNET,
        "model.neck.in_channels": channels,
        "model.neck.out_channels": width,
        **transformer("model.encoder", "self_attn_cfg", width=width),
        **transformer("model.decoder", *attentions, width=width),
        "model.positional_encoding.num_feats": width // 2,
        "model.bbox_head.num_classes": 2,
        "model.bbox_head.embed_dims": width,
        "model.num_queries": 12,
    }


def deformable(width=16):
    return {
        **detr_like([16, 32, 64], width),
        "model.neck.norm_cfg": dict(type="GN", num_groups=4),
    }


def roi_heads(config, masks):
    """Return the settings of one RoI head or of the stages of a cascade."""
    heads = config.model.roi_head
    stages = isinstance(heads.bbox_head, list)

    def of(name, **changes):
        found = heads[name] if isinstance(heads[name], list) else [heads[name]]
        for head in found:
            head.update(changes)

    for extractor in ("bbox_roi_extractor", "mask_roi_extractor"):
        if extractor in heads:
            heads[extractor].out_channels = 16
    of("bbox_head", in_channels=16, fc_out_channels=16, num_classes=2)
    if masks:
        of(
            "mask_head",
            num_convs=1,
            in_channels=16,
            conv_out_channels=16,
            num_classes=2,
        )
    samplers = config.model.train_cfg.rcnn
    for sampler in samplers if stages else [samplers]:
        sampler.sampler.num = 16


def mask_transformer_head(head, classes):
    return {
        **RESNET,
        f"{head}.in_channels": MAPS,
        f"{head}.feat_channels": 16,
        f"{head}.out_channels": 16,
        f"{head}.num_queries": 8,
        f"{head}.pixel_decoder.norm_cfg": dict(type="GN", num_groups=4),
        f"{head}.positional_encoding.num_feats": 8,
        **transformer(f"{head}.transformer_decoder", "self_attn_cfg", "cross_attn_cfg"),
        **transformer(f"{head}.pixel_decoder.encoder", "self_attn_cfg"),
        f"{head}.pixel_decoder.positional_encoding.num_feats": 8,
        f"{head}.loss_cls.class_weight": [1.0] * classes + [0.1],
    }


def mask_transformer(stuff):
    head = "model.panoptic_head"
    return {
        **mask_transformer_head(head, 2 + stuff),
        f"{head}.num_things_classes": 2,
        f"{head}.num_stuff_classes": stuff,
        "model.panoptic_fusion_head.num_things_classes": 2,
        "model.panoptic_fusion_head.num_stuff_classes": stuff,
    }


def classifier(arch, channels, **more):
    return {
        "model.backbone.arch": dict(arch, _delete_=True),
        "model.head.in_channels": channels,
        "model.head.num_classes": 2,
        "data_preprocessor.num_classes": 2,
        **more,
    }


def segmentor(**heads):
    return {
        **RESNET,
        "model.decode_head.num_classes": 2,
        "model.decode_head.channels": 16,
        **heads,
    }


# Family -> (config, settings, divisor of all sizes in pixels of its pipelines).
FAMILIES = {
    "DETR": ("mmdet::detr/detr_r50_8xb2-150e_coco.py", detr_like([64]), 10),
    "Deformable DETR": (
        "mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py",
        deformable(),
        10,
    ),
    "DINO": (
        "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py",
        # Its decoder encodes positions in 256 numbers, whatever its width.
        {**deformable(256), "model.dn_cfg.group_cfg.num_dn_queries": 8},
        10,
    ),
    "MaskFormer": (
        "mmdet::maskformer/maskformer_r50_ms-16xb1-75e_coco.py",
        mask_transformer(stuff=1),
        10,
    ),
    "Mask2Former": (
        "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py",
        {**mask_transformer(stuff=0), "model.train_cfg.num_points": 50},
        8,
    ),
    "Mask2Former, videos": (
        "mmdet::mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2019.py",
        {
            **mask_transformer_head("model.track_head", 2),
            "model.init_cfg": None,
            "model.track_head.num_classes": 2,
            "model.track_head.train_cfg.num_points": 50,
        },
        4,
    ),
    "RTMDet": (
        "mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py",
        {
            "model.backbone.init_cfg": None,
            "model.backbone.widen_factor": 0.125,
            "model.backbone.norm_cfg": dict(type="BN"),
            "model.neck.in_channels": [32, 64, 128],
            "model.neck.out_channels": 16,
            "model.neck.norm_cfg": dict(type="BN"),
            "model.bbox_head.in_channels": 16,
            "model.bbox_head.feat_channels": 16,
            "model.bbox_head.norm_cfg": dict(type="BN"),
            "model.bbox_head.num_classes": 2,
        },
        5,
    ),
    "YOLOX": (
        "mmdet::yolox/yolox_s_8xb8-300e_coco.py",
        {
            "model.backbone.widen_factor": 0.125,
            "model.neck.in_channels": [32, 64, 128],
            "model.neck.out_channels": 16,
            "model.bbox_head.in_channels": 16,
            "model.bbox_head.feat_channels": 16,
            "model.bbox_head.num_classes": 2,
        },
        5,
    ),
    "Cascade": (
        "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
        {**RESNET, **FPN, **RPN},
        10,
    ),
    "HTC": (
        "mmdet::htc/htc-without-semantic_r50_fpn_1x_coco.py",
        {**RESNET, **FPN, **RPN},
        10,
    ),
    "SOLO": (
        "mmdet::solo/solo_r50_fpn_1x_coco.py",
        {
            **RESNET,
            **FPN,
            "model.mask_head.in_channels": 16,
            "model.mask_head.feat_channels": 16,
            "model.mask_head.stacked_convs": 1,
            "model.mask_head.num_classes": 2,
            "model.mask_head.norm_cfg": dict(type="GN", num_groups=4),
        },
        10,
    ),
    "panoptic FPN": (
        "mmdet::panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py",
        {
            **RESNET,
            **FPN,
            **RPN,
            "model.semantic_head.in_channels": 16,
            "model.semantic_head.inner_channels": 16,
            "model.semantic_head.num_things_classes": 2,
            "model.semantic_head.num_stuff_classes": 1,
            "model.semantic_head.norm_cfg": dict(type="GN", num_groups=4),
            "model.panoptic_fusion_head.num_things_classes": 2,
            "model.panoptic_fusion_head.num_stuff_classes": 1,
        },
        10,
    ),
    "ViT": (
        "mmpretrain::vision_transformer/vit-base-p16_64xb64_in1k.py",
        classifier(
            dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32),
            16,
            **{"model.backbone.img_size": 56, "model.backbone.patch_size": 8},
        ),
        4,
    ),
    "Swin": (
        "mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py",
        classifier(
            dict(embed_dims=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2]),
            64,
        ),
        1,
    ),
    "ConvNeXt": (
        "mmpretrain::convnext/convnext-tiny_32xb128_in1k.py",
        classifier(dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 16]), 16),
        2,
    ),
    "SegFormer": (
        "mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py",
        {
            "model.backbone.init_cfg": None,
            "model.backbone.embed_dims": 8,
            "model.backbone.num_heads": [1, 1, 2, 2],
            "model.backbone.num_layers": [1, 1, 1, 1],
            "model.decode_head.in_channels": [8, 8, 16, 16],
            "model.decode_head.channels": 16,
            "model.decode_head.num_classes": 2,
        },
        8,
    ),
    "Semantic FPN": (
        "mmseg::sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512.py",
        segmentor(**{**FPN, "model.decode_head.in_channels": [16] * 4}),
        8,
    ),
    "UPerNet": (
        "mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py",
        segmentor(
            **{
                "model.decode_head.in_channels": MAPS,
                "model.auxiliary_head.in_channels": 32,
                "model.auxiliary_head.channels": 8,
                "model.auxiliary_head.num_classes": 2,
            }
        ),
        8,
    ),
}

SIZED = ("scale", "scales", "crop_size", "img_scale", "border", "size", "max_size")


def small_config(family, root):
    """Return a family's config: small, on the images of :mod:`made_data`."""
    from mms_plugin import cli

    name, settings, divisor = FAMILIES[family]
    config = cli.load_config(name)
    config.merge_from_dict(settings)
    if family in ("Cascade", "HTC", "panoptic FPN"):
        roi_heads(config, masks=family != "Cascade")
    config = shrunk(config, divisor, root)
    config.custom_hooks = []
    return config


def shrunk(config, divisor, root):
    """Return a config with smaller sizes, on the images of :mod:`made_data`."""
    for key in ("model", "data_preprocessor"):
        if key in config:
            _without_sync(config[key])
    for loader in ("train_dataloader", "val_dataloader"):
        _shrink_sizes(config[loader].dataset, divisor)
    for place in (config, config.model):
        preprocessor = place.get("data_preprocessor") or {}
        _shrink_sizes(preprocessor, divisor)
        for augment in preprocessor.get("batch_augments") or ():
            if "random_size_range" in augment:
                augment.update(random_size_range=(64, 128), size_divisor=32)
    on_made_data(config.train_dataloader.dataset, root)
    config.train_dataloader.update(
        batch_size=2, num_workers=0, persistent_workers=False
    )
    if config.default_scope == "mmpretrain":
        config.train_dataloader.collate_fn = dict(type="default_collate")
    return config


def _without_sync(config):
    if isinstance(config, dict):
        if config.get("type") == "SyncBN":
            config["type"] = "BN"
        for key in ("pretrained", "init_cfg"):
            if isinstance(config.get(key), (str, dict)) and "ckpt" in str(config[key]):
                config[key] = None
        if isinstance(config.get("pretrained"), str):
            config["pretrained"] = None
        for value in config.values():
            _without_sync(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            _without_sync(value)


def _shrink_sizes(config, divisor):
    """Divide the sizes in pixels of all transforms by a number."""

    def smaller(value):
        if isinstance(value, (list, tuple)):
            return type(value)([smaller(each) for each in value])
        if isinstance(value, int) and abs(value) >= 8:
            return value // divisor if value > 0 else -(-value // divisor)
        return value

    if isinstance(config, dict):
        for key, value in config.items():
            if key in SIZED and value is not None:
                config[key] = smaller(value)
            else:
                _shrink_sizes(value, divisor)
    elif isinstance(config, (list, tuple)):
        for value in config:
            _shrink_sizes(value, divisor)


def on_made_data(dataset, root):
    while "dataset" in dataset:
        dataset = dataset.dataset
    pipeline, kind = dataset.pipeline, dataset.type
    things = made_data.CLASSES
    if kind == "ADE20KDataset":
        new = dict(
            type="BaseSegDataset",
            metainfo=dict(classes=things, palette=[[0, 0, 0], [9, 9, 9]]),
            data_root=str(root),
            data_prefix=dict(img_path="images", seg_map_path="segments"),
            img_suffix=".png",
            reduce_zero_label=True,
        )
    elif kind in ("ImageNet", "CIFAR10"):
        new = dict(type="CustomDataset", data_root=str(root / "classes"))
    else:
        new = dict(
            type="BaseVideoDataset" if "VIS" in kind else "CocoDataset",
            data_root=str(root),
            ann_file="instances.json",
            data_prefix=dict(
                img="images/", img_path="images/", seg="things_and_stuff/"
            ),
            metainfo=dict(classes=things),
            filter_cfg=dict(filter_empty_gt=True, min_size=1),
        )
    for index, transform in enumerate(pipeline):
        if transform.type == "LoadPanopticAnnotations":
            # The same from other files: it needs a package of its own.
            load = dict(with_bbox=True, with_mask=True, with_seg=True)
            pipeline[index] = dict(type="LoadAnnotations", **load)
    if kind == "CIFAR10":  # its images are in memory
        pipeline = [dict(type="LoadImageFromFile"), *pipeline]
    dataset.clear()
    dataset.update(new, pipeline=pipeline)


def trained(config, work_dir, iterations=10):
    """Train some iterations; the shapes of the batches, and the losses."""
    from mmengine.hooks import Hook
    from mmengine.runner import Runner

    class Watch(Hook):
        def __init__(self):
            self.shapes, self.losses = [], []

        def before_train(self, runner):
            def note(module, args, out):
                self.shapes.append(
                    (tuple(out["inputs"].shape[-2:]), len(out["inputs"]))
                )

            runner.model.data_preprocessor.register_forward_hook(note)

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            self.losses.append(float(np.asarray(outputs["loss"].detach())))

    config.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            train_cfg=dict(
                _delete_=True,
                type="IterBasedTrainLoop",
                max_iters=iterations,
                val_interval=1000,
            ),
            log_level="WARNING",
            randomness=dict(seed=0),
        )
    )
    config.train_dataloader.sampler = dict(type="InfiniteSampler", shuffle=True)
    config.param_scheduler = None
    for key in ("val_cfg", "val_dataloader", "val_evaluator"):
        config[key] = None
    for key in ("test_cfg", "test_dataloader", "test_evaluator"):
        config[key] = None
    config.default_hooks.pop("visualization", None)
    config.visualizer = None
    watch = Watch()
    runner = Runner.from_cfg(config)
    runner.register_hook(watch)
    runner.train()
    return runner, watch
