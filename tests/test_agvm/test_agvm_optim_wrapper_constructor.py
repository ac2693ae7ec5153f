import pytest
import torch
from agvm_toy import TOY_MODULES, ToyDetector, build, build_plain, logged
from mmengine.optim import (
    DefaultOptimWrapperConstructor,
    OptimWrapper,
    build_optim_wrapper,
)
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, DefaultScope
from torch import nn

from mms_plugin.agvm import AGVMOptimWrapperConstructor

PARAMWISE = dict(
    bias_lr_mult=2.0,
    bias_decay_mult=0.0,
    custom_keys={"neck": dict(lr_mult=0.1, decay_mult=3.0), "scale": dict(lr_mult=5)},
)
SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=0.01)


def _options(wrapper):
    """Options of each parameter, without where it belongs."""
    options = {}
    for group in wrapper.optimizer.param_groups:
        for param in group["params"]:
            assert param not in options
            options[param] = {
                k: v for k, v in group.items() if k not in ("params", "agvm_module")
            }
    return options


@pytest.mark.parametrize("paramwise_cfg", [None, PARAMWISE])
def test_every_parameter_once_with_the_options_of_the_plain_constructor(paramwise_cfg):
    model = ToyDetector()
    ours = build(model, SGD, paramwise_cfg=paramwise_cfg)
    plain = build_plain(model, SGD, paramwise_cfg=paramwise_cfg)
    assert _options(ours) == _options(plain)
    assert set(_options(ours)) == set(model.parameters())
    order = [p for g in ours.optimizer.param_groups for p in g["params"]]
    before = [p for g in plain.optimizer.param_groups for p in g["params"]]
    assert [id(p) for p in order] == [id(p) for p in before]
    names = {p: n for n, p in model.named_parameters()}
    for group in ours.optimizer.param_groups:
        module = group["agvm_module"]
        for param in group["params"]:
            if module == "rest":
                assert names[param] == "scale"
            else:
                assert names[param].startswith(module + ".")
    assert set(ours.agvm.modules) == {*TOY_MODULES, "rest"}


def test_it_prints_the_modules():
    with logged() as messages:
        build(ToyDetector())
    lines = "\n".join(messages).splitlines()
    row = next(line for line in lines if line.startswith("backbone"))
    assert row.split() == ["backbone", "4", "498", "1", "anchor"]


def test_shared_parameters_lie_in_one_group():
    for paramwise_cfg in (None, PARAMWISE):
        model = ToyDetector()
        model.roi_head.bbox_head = nn.Linear(5, 5)
        model.extra = nn.Linear(5, 5)
        model.extra.weight = model.roi_head.bbox_head.weight
        wrapper = build(model, SGD, paramwise_cfg=paramwise_cfg)
        owner = {
            p: g["agvm_module"]
            for g in wrapper.optimizer.param_groups
            for p in g["params"]
        }
        assert owner[model.extra.weight] == "roi_head.bbox_head"
        assert owner[model.extra.bias] == "rest"
        assert set(_options(wrapper)) == set(model.parameters())


def test_layer_decay_of_mmpretrain_keeps_its_meaning():
    pytest.importorskip("mmpretrain.engine")
    from mmpretrain.models import ImageClassifier

    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=2, num_heads=3, feedforward_channels=48)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = ImageClassifier(
            backbone=dict(
                type="VisionTransformer", arch=arch, img_size=32, patch_size=16
            ),
            head=dict(type="VisionTransformerClsHead", num_classes=3, in_channels=24),
        )
    base = "mmpretrain.LearningRateDecayOptimWrapperConstructor"
    paramwise_cfg = dict(layer_decay_rate=0.5, norm_decay_mult=0.0)
    optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.1)
    ours = build(model, optimizer, base=base, paramwise_cfg=paramwise_cfg)
    plain = build_plain(model, optimizer, constructor=base, paramwise_cfg=paramwise_cfg)
    assert _options(ours) == _options(plain)
    assert len({group["lr"] for group in ours.optimizer.param_groups}) > 3
    assert {g["agvm_module"] for g in ours.optimizer.param_groups} == {
        "backbone",
        "head",
    }


def test_layer_decay_of_mmdet_keeps_its_meaning():
    pytest.importorskip("mmdet.engine.optimizers")
    from mmdet.models.detectors import SingleStageDetector

    class ConvNeXt(nn.Module):
        def __init__(self):
            super().__init__()
            self.downsample_layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(4))
            self.stages = nn.ModuleList(
                nn.ModuleList([nn.Linear(2, 2)]) for _ in range(4)
            )

    assert SingleStageDetector  # mmdet's registry is filled
    model = nn.Module()
    model.backbone, model.bbox_head = ConvNeXt(), nn.Linear(2, 2)
    base = "mmdet.LearningRateDecayOptimizerConstructor"
    paramwise_cfg = dict(decay_rate=0.7, decay_type="layer_wise", num_layers=6)
    optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.1)
    ours = build(model, optimizer, base=base, paramwise_cfg=paramwise_cfg)
    plain = build_plain(model, optimizer, constructor=base, paramwise_cfg=paramwise_cfg)
    ours_options, plain_options = _options(ours), _options(plain)
    names = {p: n for n, p in model.named_parameters()}
    assert set(ours_options) == set(plain_options) == set(model.parameters())
    for param, options in plain_options.items():
        for key in ("lr", "weight_decay", "lr_scale", "group_name"):
            assert ours_options[param][key] == options[key]
    for group in ours.optimizer.param_groups:
        assert group["param_names"] == [names[p] for p in group["params"]]


def test_frozen_parameters():
    model = ToyDetector()
    model.backbone[0].requires_grad_(False)  # a part of the anchor
    model.neck.requires_grad_(False)  # a whole module
    wrapper = build(model)
    assert "neck" not in wrapper.agvm.multipliers
    assert wrapper.agvm.anchors == ["backbone"]
    model.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match="anchor 'backbone' is not among.*unfreeze"):
        build(model)
    with pytest.raises(ValueError, match="module 'backbone' has no trainable"):
        build(model, agvm=dict(modules=["backbone", "rpn_head"]))


def test_an_anchor_by_name_or_prefix():
    wrapper = build(ToyDetector(), agvm=dict(anchor="roi_head"))
    assert wrapper.agvm.anchors == ["roi_head.bbox_head"]
    with pytest.raises(ValueError, match="anchor 'fpn' is not among the modules"):
        build(ToyDetector(), agvm=dict(anchor="fpn"))
    with pytest.raises(ValueError, match="anchor 'backbone' is not among"):
        build(ToyDetector(), agvm=dict(modules=["neck", "rpn_head"]))


def test_a_module_with_one_parameter():
    model = ToyDetector()
    model.scale = nn.Parameter(torch.ones(2))
    wrapper = build(model, agvm=dict(modules=["backbone", "neck"]))
    assert wrapper.agvm.modules == ["backbone", "neck", "rest"]
    model.neck = nn.Conv2d(6, 5, 1, bias=False)  # one tensor
    assert "neck" in build(model).agvm.modules


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class _ForgetfulConstructor:
    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        pass

    def __call__(self, model):
        return OptimWrapper(torch.optim.SGD(model.backbone.parameters(), lr=0.1))


def test_a_parameter_left_out_by_the_base():
    with pytest.raises(ValueError, match="'_Forgetful.*left.*'scale' out"):
        build(ToyDetector(), base="_ForgetfulConstructor")


def test_base_and_lr_scaling_as_arguments():
    constructor = AGVMOptimWrapperConstructor(
        dict(type="AGVMOptimWrapper", optimizer=dict(SGD)),
        base="DefaultOptimWrapperConstructor",
        lr_scaling=dict(batch_size=64, base_batch_size=16, rule="sqrt"),
    )
    assert constructor(ToyDetector()).get_lr()["base_lr"] == [pytest.approx(0.2)]
    wrapper = build(
        ToyDetector(), SGD, lr_scaling=dict(batch_size=64, base_batch_size=16)
    )
    assert wrapper.get_lr()["lr"] == [pytest.approx(0.4)] * 5
    with pytest.raises(ValueError, match="lr_scaling.*lr, which must be a num.*None"):
        build(
            ToyDetector(),
            dict(type="AdamW"),
            lr_scaling=dict(batch_size=4, base_batch_size=2),
        )


@pytest.mark.parametrize(
    "arguments, words",
    [
        (
            dict(batch_size=0, base_batch_size=2),
            "batch_size must be an integer.*at least 1.*0",
        ),
        (dict(batch_size=2, base_batch_size=2.5), "base_batch_size must be.*2.5"),
        (dict(batch_size=2, base_batch_size=2, rule="log"), "rule must be.*'log'"),
        (5, "lr_scaling must be dict.*got 5"),
        (dict(batch_size=4), "lr_scaling must be dict.*got .*4"),
        (dict(batch_size=4, base_batch_size=2, by="x"), "lr_scaling must be dict.*'x'"),
    ],
)
def test_wrong_lr_scaling(arguments, words):
    with pytest.raises(ValueError, match=words):
        build(ToyDetector(), SGD, lr_scaling=arguments)


def test_sparse_gradients_are_refused():
    model = ToyDetector()
    model.words = nn.Embedding(3, 4, sparse=True)
    with pytest.raises(ValueError, match="sparse gradients, which 'words'.*sparse=F"):
        build(model)


def test_wrong_input():
    with pytest.raises(ValueError, match="dict with optimizer=dict"):
        AGVMOptimWrapperConstructor(dict(type="AGVMOptimWrapper"))
    with pytest.raises(ValueError, match="RMSprop has no update direction"):
        build(ToyDetector(), dict(type="RMSprop", lr=0.1))
    with pytest.raises(ValueError, match="interval must be"):
        build(ToyDetector(), agvm=dict(interval=0))
    with pytest.raises(ValueError, match="'head' overlap|does not have"):
        build(ToyDetector(), agvm=dict(modules=["backbone", "head"]))


def test_without_the_constructor():
    with pytest.raises(ValueError, match="constructor='AGVMOptimWrapperConstructor'"):
        build_optim_wrapper(ToyDetector(), dict(type="AGVMOptimWrapper", optimizer=SGD))


def test_sharded_models_are_refused():
    class FullyShardedDataParallel(nn.Module):
        pass

    class MMDeepSpeedEngineWrapper(nn.Module):
        pass

    class CollosalAIModelWrapper(nn.Module):
        pass

    for cls, name in [
        (FullyShardedDataParallel, "FSDP"),
        (MMDeepSpeedEngineWrapper, "DeepSpeed"),
        (CollosalAIModelWrapper, "ColossalAI"),
    ]:
        words = f"whole gradients, which {name} shards.*MMDistributedDataParallel"
        with pytest.raises(ValueError, match=words):
            build(cls())
        # DeepSpeed wraps the model after the optimizer is built.
        with pytest.raises(ValueError, match=words):
            build(ToyDetector()).initialize_count_status(cls(), 0, 1)


@pytest.mark.parametrize("library", ["mmengine", "mmdet", "mmpretrain"])
def test_found_from_every_library(library):
    registry = pytest.importorskip(f"{library}.registry")
    for kind in ("", "Amp", "BFloat16"):
        name = f"{kind}AGVMOptimWrapper"
        assert registry.OPTIM_WRAPPERS.get(name).__name__ == name
    name = "AGVMOptimWrapperConstructor"
    assert registry.OPTIM_WRAPPER_CONSTRUCTORS.get(name).__name__ == name
    assert registry.HOOKS.get("ClipGradRangeHook").__name__ == "ClipGradRangeHook"


def test_a_constructor_may_be_called_twice():
    clip = dict(type="value", clip_value=0.5)
    constructor = AGVMOptimWrapperConstructor(
        dict(type="AGVMOptimWrapper", optimizer=dict(SGD), clip_grad=clip)
    )
    for _ in range(2):
        wrapper = constructor(ToyDetector())
        assert wrapper.clip_grad_kwargs == dict(clip_value=0.5)
        assert wrapper.grad_name == "grad_value"


def _model_with_shared_parameters():
    model = ToyDetector()
    model.roi_head.bbox_head = nn.Linear(5, 5)
    model.extra = nn.Linear(5, 5)
    model.extra.weight = model.roi_head.bbox_head.weight
    return model


def test_shared_parameters_in_several_groups_are_named():
    refused = dict(PARAMWISE, bypass_duplicate=False)
    words = (
        r"roi_head\.bbox_head\.weight = extra\.weight\. Set bypass_duplicate=True in "
        "paramwise_cfg"
    )
    with pytest.raises(ValueError, match=words):
        build(_model_with_shared_parameters(), SGD, paramwise_cfg=refused)
    with pytest.raises(ValueError, match=words):
        build(
            _model_with_shared_parameters(),
            SGD,
            base="_HeedlessConstructor",
            paramwise_cfg=PARAMWISE,
        )
    # What the message says to set is enough, and the default where MMEngine heeds it.
    for base in (
        "DefaultOptimWrapperConstructor",
        "mmengine.DefaultOptimWrapperConstructor",
        DefaultOptimWrapperConstructor,
    ):
        for heeded in (PARAMWISE, dict(PARAMWISE, bypass_duplicate=True)):
            model = _model_with_shared_parameters()
            wrapper = build(model, SGD, base=base, paramwise_cfg=heeded)
            assert set(_options(wrapper)) == set(model.parameters())


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class _HeedlessConstructor:
    """One group for each name, as constructors with their own ``add_params`` do."""

    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        pass

    def __call__(self, model):
        named = model.named_parameters(remove_duplicate=False)
        groups = [dict(params=[param]) for _, param in named]
        return OptimWrapper(torch.optim.SGD(groups, lr=0.1))


def test_a_base_constructor_that_does_not_heed_bypass_duplicate():
    with pytest.raises(ValueError, match="extra.weight.*too: set base to a construct"):
        build(
            _model_with_shared_parameters(),
            SGD,
            base="_HeedlessConstructor",
            paramwise_cfg=dict(PARAMWISE, bypass_duplicate=True),
        )


def test_other_errors_of_a_base_constructor_stay_as_they_are():
    with pytest.raises(ValueError, match="^base_wd should not be None$"):
        build(
            _model_with_shared_parameters(),
            dict(type="SGD", lr=0.1),
            paramwise_cfg=PARAMWISE,
        )


def test_many_shared_parameters_are_listed_in_part():
    model = ToyDetector()
    model.backbone = nn.ModuleList(nn.Linear(2, 2) for _ in range(4))
    model.neck = nn.ModuleList(nn.Linear(2, 2) for _ in range(4))
    for ours, other in zip(model.backbone, model.neck):
        other.weight, other.bias = ours.weight, ours.bias
    with pytest.raises(ValueError, match="neck.0.weight; .*; and 3 more. Set bypass"):
        build(model, SGD, paramwise_cfg=dict(PARAMWISE, bypass_duplicate=False))
