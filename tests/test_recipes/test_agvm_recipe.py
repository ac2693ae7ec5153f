import pytest
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper

from mms_plugin.recipes import RecipeError, agvm_recipe


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
    lines = []
    wrapper = agvm_recipe(config, dict(interval=5), report=lines.append).optim_wrapper
    assert lines[1] == (
        "optim_wrapper.constructor: mmdet.LayerDecay -> "
        "AGVMOptimWrapperConstructor(base=mmdet.LayerDecay)"
    )
    assert wrapper.type == "AmpAGVMOptimWrapper"
    assert wrapper.base == "mmdet.LayerDecay"
    assert wrapper.agvm == dict(interval=5, start_iter=100)
    # Fitted when the training begins.
    wrapper = agvm_recipe(config, dict(interval=None)).optim_wrapper
    assert wrapper.agvm == dict(interval=None, start_iter=100)


@pytest.mark.parametrize(
    "imported, base",
    [
        ("mmengine.hooks import EMAHook", "mmengine.hooks.EMAHook"),  # any class
        ("mmengine.optim import DefaultOptimWrapperConstructor", None),
        ("mms_plugin.agvm import AGVMOptimWrapperConstructor", None),
    ],
)
def test_a_constructor_that_a_config_imports(tmp_path, imported, base):
    """The converted config can be written and read, as a runner does."""
    (tmp_path / "own.py").write_text(
        "from mmengine.optim import OptimWrapper\n"
        "from torch.optim import SGD\n"
        f"from {imported}\n"
        "optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.02),\n"
        f"                     constructor={imported.rpartition(' ')[2]})\n"
    )
    agvm_recipe(Config.fromfile(tmp_path / "own.py")).dump(tmp_path / "new.py")
    wrapper = Config.fromfile(tmp_path / "new.py").optim_wrapper
    assert wrapper.constructor.endswith("AGVMOptimWrapperConstructor")
    assert wrapper.get("base") == base


def test_settings_that_the_large_batch_recipe_replaces_are_told():
    config = _config(agvm=dict(interval=3, start_iter=123, anchor="neck"))
    config.update(
        train_dataloader=dict(
            batch_size=4,
            sampler=dict(type="DefaultSampler", shuffle=True),
            dataset=dict(type="A"),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=12),
        auto_scale_lr=dict(base_batch_size=16),
    )
    lines = []
    batch = dict(batch_size=256, world_size=8, num_samples=100_000)
    agvm = agvm_recipe(config, report=lines.append, **batch).optim_wrapper.agvm
    assert agvm["anchor"] == "neck"
    assert agvm["start_iter"] != 123 and agvm["interval"] != 3
    for name, old in (("start_iter", 123), ("interval", 3)):
        assert f"optim_wrapper.agvm.{name}: {old} -> {agvm[name]}" in lines
    kept = agvm_recipe(config, dict(interval=3), **batch).optim_wrapper.agvm
    assert kept["interval"] == 3


def test_a_wrapper_given_as_its_class():
    lines = []
    after = agvm_recipe(_config(type=AmpOptimWrapper), report=lines.append)
    assert after.optim_wrapper.type == "AmpAGVMOptimWrapper"
    assert "optim_wrapper.type: AmpOptimWrapper -> AmpAGVMOptimWrapper" in lines


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
    words = "stop_iter must be at least 600, the iteration after the warm-up.*got 500"
    with pytest.raises(ValueError, match=words):
        agvm_recipe(_config(), dict(stop_iter=500))
    converted = agvm_recipe(_config(), dict(stop_iter=500, start_iter=400))
    assert converted.optim_wrapper.agvm == dict(stop_iter=500, start_iter=400)


@pytest.mark.parametrize(
    "schedulers, start",
    [
        (None, 100),
        (dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=500), 600),
        # In epochs: fitted when the training begins.
        ([dict(type="LinearLR", start_factor=0.1, by_epoch=True, end=5)], None),
        ([dict(type="mmdet.QuadraticWarmupLR", by_epoch=True, begin=0, end=5)], None),
        # Not at the start, or not upwards.
        (
            [dict(type="ConstantLR", factor=1, by_epoch=False, begin=24000, end=25000)],
            100,
        ),
        (
            [dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=9, end=99)],
            100,
        ),
        (
            [
                dict(
                    type="LinearLR", start_factor=1, end_factor=0, by_epoch=False, end=9
                )
            ],
            100,
        ),
    ],
)
def test_the_start_after_the_warmup(schedulers, start):
    config = _config()
    config.param_scheduler = schedulers
    config.train_cfg = dict(by_epoch=True, max_epochs=100)
    assert agvm_recipe(config).optim_wrapper.agvm == dict(start_iter=start)


def test_a_warmup_of_many_epochs_needs_a_start():
    config = _config()
    config.param_scheduler = [dict(type="LinearLR", start_factor=0.1, end=20)]
    config.train_cfg = dict(by_epoch=True, max_epochs=100)
    with pytest.raises(RecipeError, match="20 of 100 epochs.*set start_iter=N"):
        agvm_recipe(config)
    agvm = agvm_recipe(config, dict(start_iter=7)).optim_wrapper.agvm
    assert agvm == dict(start_iter=7)


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


def test_an_optimizer_that_agvm_does_not_know_is_refused():
    config = _config()
    config["optim_wrapper"]["optimizer"]["type"] = "RMSprop"
    with pytest.raises(RecipeError, match="no update direction of RMSprop") as error:
        agvm_recipe(config)
    assert error.value.place == "optim_wrapper.optimizer.type"
