import pytest
from mmengine.config import Config

from mms_plugin.recipes import agvm_recipe


def _config(**wrapper):
    optimizer = dict(type="SGD", lr=0.02)
    return Config(
        dict(
            optim_wrapper=dict(
                dict(type="OptimWrapper", optimizer=optimizer), **wrapper
            ),
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=500),
                dict(type="MultiStepLR", milestones=[8], by_epoch=True, end=12),
            ],
            custom_imports=dict(imports="mine", allow_failed_imports=True),
        )
    )


def test_what_changes_and_what_stays():
    before = _config(clip_grad=dict(max_norm=1), accumulative_counts=2)
    after = agvm_recipe(before)
    same = _config(clip_grad=dict(max_norm=1), accumulative_counts=2)
    assert before.to_dict() == same.to_dict()
    assert after.optim_wrapper == dict(
        type="AGVMOptimWrapper",
        constructor="AGVMOptimWrapperConstructor",
        optimizer=dict(type="SGD", lr=0.02),
        clip_grad=dict(max_norm=1),
        accumulative_counts=2,
        agvm=dict(start_iter=600),
    )
    assert after.param_scheduler == before.param_scheduler
    assert after.custom_imports.imports == ["mine", "mms_plugin"]
    assert agvm_recipe(after).to_dict() == after.to_dict()


def test_amp_layer_decay_and_own_arguments():
    config = _config(type="mmengine.AmpOptimWrapper", constructor="mmdet.LayerDecay")
    config.param_scheduler = None
    wrapper = agvm_recipe(config, dict(interval=5)).optim_wrapper
    assert wrapper.type == "AmpAGVMOptimWrapper"
    assert wrapper.base == "mmdet.LayerDecay"
    assert wrapper.agvm == dict(interval=5, start_iter=100)
    # Fitted when the training begins.
    wrapper = agvm_recipe(config, dict(interval=None)).optim_wrapper
    assert wrapper.agvm == dict(interval=None, start_iter=100)


@pytest.mark.parametrize(
    "config, words",
    [
        ({}, "needs optim_wrapper"),
        (_config(type="DeepSpeedOptimWrapper"), "cannot replace.*DeepSpeedOptim"),
    ],
)
def test_what_it_refuses(config, words):
    with pytest.raises(ValueError, match=words):
        agvm_recipe(config)


def test_arguments_are_refused_before_anything_is_built():
    with pytest.raises(ValueError, match="start_iter.*-3"):
        agvm_recipe(_config(), dict(start_iter=-3))
    with pytest.raises(ValueError, match="start_iter=600 lies after stop_iter=500"):
        agvm_recipe(_config(), dict(stop_iter=500))


@pytest.mark.parametrize(
    "path",
    [
        "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
        "mmdet::convnext/mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco.py",
        "mmpretrain::resnet/resnet50_8xb32_in1k.py",
    ],
)
def test_configs_of_the_libraries(path):
    pytest.importorskip(path.split("::")[0])
    from mmengine.hub import get_config

    config = get_config(path)
    after = agvm_recipe(config)
    assert after.optim_wrapper.type in ("AGVMOptimWrapper", "AmpAGVMOptimWrapper")
    assert after.optim_wrapper.optimizer == config.optim_wrapper.optimizer
    assert after.optim_wrapper.get("base") == config.optim_wrapper.get("constructor")
