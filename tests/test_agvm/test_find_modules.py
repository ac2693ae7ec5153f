import pytest
from agvm_toy import TOY_MODULES, ToyDetector
from mmengine.registry import DefaultScope
from torch import nn

from mms_plugin.agvm.find_modules import (
    REST,
    assign_parameters,
    find_modules,
    shared_parameters,
)


class Parts(nn.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def _build(scope, config):
    registry = pytest.importorskip(f"{scope}.registry")
    pytest.importorskip(f"{scope}.utils").register_all_modules(False)
    with DefaultScope.overwrite_default_scope(scope):
        return registry.MODELS.build(config)


def _library_model(scope, path, **changes):
    get_config = pytest.importorskip("mmengine.hub").get_config
    config = get_config(f"{scope}::{path}").model
    config.backbone.init_cfg = None
    for key, value in changes.items():
        config.backbone[key] = value
    return _build(scope, config)


def test_the_parts_of_a_detector():
    assert find_modules(ToyDetector()) == TOY_MODULES


@pytest.mark.parametrize(
    "path, expected",
    [
        (
            "mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
            [
                "backbone",
                "neck",
                "rpn_head",
                "roi_head.bbox_head",
                "roi_head.mask_head",
            ],
        ),
        (
            "cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py",
            ["backbone", "neck", "rpn_head"]
            + [f"roi_head.bbox_head.{i}" for i in range(3)],
        ),
        ("retinanet/retinanet_r50_fpn_1x_coco.py", ["backbone", "neck", "bbox_head"]),
        (
            "panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py",
            ["backbone", "neck", "rpn_head", "roi_head.bbox_head"]
            + ["roi_head.mask_head", "semantic_head"],
        ),
    ],
)
def test_the_parts_of_mmdet_models(path, expected):
    model = _library_model("mmdet", path, depth=18)
    found = find_modules(model) if "neck" in expected else None
    assert found == expected
    owner = assign_parameters(model, found)
    assert set(owner) == set(model.parameters())
    assert REST not in {owner[p] for p in model.parameters() if p.requires_grad}


def test_a_resnet_of_mmpretrain_is_taken_apart_into_stages():
    model = _library_model("mmpretrain", "resnet/resnet18_8xb32_in1k.py")
    found = find_modules(model)
    assert found == [f"backbone.layer{i}" for i in range(1, 5)] + ["head"]
    owner = assign_parameters(model, found)
    assert owner[model.backbone.conv1.weight] == REST
    assert owner[model.backbone.layer2[0].conv1.weight] == "backbone.layer2"


def test_a_transformer_of_mmpretrain_stays_whole():
    model = _library_model(
        "mmpretrain",
        "vision_transformer/vit-base-p16_64xb64_in1k.py",
        arch=dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48),
    )
    assert find_modules(model) == ["backbone", "head"]


def test_lists_of_heads_count_one_by_one():
    model = Parts(
        backbone=nn.Conv2d(3, 3, 1),
        decode_head=nn.Conv2d(3, 3, 1),
        auxiliary_head=nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)]),
    )
    assert find_modules(model) == [
        "backbone",
        "decode_head",
        "auxiliary_head.0",
        "auxiliary_head.1",
    ]


def test_frozen_and_empty_parts_are_left_out():
    model = Parts(backbone=nn.Conv2d(3, 3, 1), neck=nn.ReLU(), head=nn.Linear(3, 3))
    model.backbone.requires_grad_(False)
    assert find_modules(model) == ["head"]


def test_named_modules_are_taken_as_they_are():
    assert find_modules(ToyDetector(), ["neck", "backbone.0"]) == ["neck", "backbone.0"]


@pytest.mark.parametrize(
    "names, words",
    [
        (["backbone", "fpn"], "'fpn'.*does not have.*backbone.*neck.*bbox_head"),
        (["backbone", "backbone.0"], "'backbone' and 'backbone.0' overlap"),
        (["neck", "neck"], "'neck' and 'neck' overlap"),
        ([], "modules is empty.*backbone"),
        (["backbone.1"], "'backbone.1' has no trainable parameters"),
        (["scale"], "'scale'.*does not have"),
    ],
)
def test_wrong_names(names, words):
    with pytest.raises(ValueError, match=words):
        find_modules(ToyDetector(), names)


@pytest.mark.parametrize("names", ["backbone", 3, [1]])
def test_names_of_a_wrong_type(names):
    with pytest.raises(TypeError, match="modules must be None or a list"):
        find_modules(ToyDetector(), names)


def test_a_model_without_usual_parts():
    model = Parts(encoder=nn.Linear(2, 2), decoder=nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"agvm=dict\(modules.*encoder, decoder"):
        find_modules(model)


def test_a_head_without_a_backbone():
    model = Parts(encoder=nn.Linear(2, 2), head=nn.Linear(2, 2))
    assert find_modules(model) == ["head"]


def test_a_shared_parameter_belongs_to_the_first_module():
    model = Parts(backbone=nn.Linear(2, 2), head=nn.Linear(2, 2), tail=nn.Linear(2, 2))
    model.head.weight = model.backbone.weight
    model.tail.weight = model.head.weight
    owner = assign_parameters(model, ["backbone", "head"])
    assert owner[model.head.weight] == "backbone"
    assert owner[model.head.bias] == "head"
    assert owner[model.tail.bias] == REST
    assert len(owner) == 4


def test_parameters_with_several_names():
    model = Parts(backbone=nn.Linear(2, 2), head=nn.Linear(2, 2), tail=nn.Linear(2, 2))
    assert shared_parameters(model) == []
    model.head.weight = model.backbone.weight
    model.tail.weight = model.head.weight
    model.tail.bias = model.head.bias
    weights = ["backbone.weight", "head.weight", "tail.weight"]
    assert shared_parameters(model) == [weights, ["head.bias", "tail.bias"]]
    model.backbone.weight.requires_grad_(False)
    assert shared_parameters(model) == [["head.bias", "tail.bias"]]
