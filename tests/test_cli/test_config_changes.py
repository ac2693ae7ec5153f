import pytest
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper

from mms_plugin import cli


class TestAmp:
    @pytest.fixture(params=[True, False], ids=["accelerator", "cpu"])
    def accelerator(self, request, monkeypatch):
        monkeypatch.setattr(
            cli.config_changes, "has_accelerator", lambda: request.param
        )
        return request.param

    def test_plain(self, accelerator):
        config = Config(dict(optim_wrapper=dict(optimizer=dict(type="SGD", lr=1.0))))
        cli.enable_amp(config)
        if accelerator:
            assert config.optim_wrapper.type == "AmpOptimWrapper"
            assert config.optim_wrapper.loss_scale == "dynamic"
        else:
            assert config.optim_wrapper.type == "BFloat16OptimWrapper"
            assert "loss_scale" not in config.optim_wrapper
            assert config.custom_imports["imports"] == ["mms_plugin"]

    def test_a_class(self, accelerator):
        config = Config(dict(optim_wrapper=dict(type=OptimWrapper)))
        cli.enable_amp(config)
        name = "AmpOptimWrapper" if accelerator else "BFloat16OptimWrapper"
        assert config.optim_wrapper.type == name

    def test_set_already(self, accelerator):
        wrapper = dict(type="AmpOptimWrapper", loss_scale=128.0, dtype="float16")
        config = Config(dict(optim_wrapper=wrapper))
        cli.enable_amp(config)
        if accelerator:
            assert config.optim_wrapper == ConfigDict(wrapper)
        else:
            assert config.optim_wrapper == ConfigDict(type="BFloat16OptimWrapper")

    def test_agvm(self, accelerator):
        config = Config(dict(optim_wrapper=dict(type="AGVMOptimWrapper", agvm={})))
        cli.enable_amp(config)
        # As with the plain wrapper: the Amp one refuses the CPU.
        name = "AmpAGVMOptimWrapper" if accelerator else "BFloat16AGVMOptimWrapper"
        assert config.optim_wrapper.type == name

    @pytest.mark.parametrize("agvm", ["", "AGVM"])
    def test_bfloat16_stays(self, accelerator, agvm):
        wrapper = dict(type=f"BFloat16{agvm}OptimWrapper")
        config = Config(dict(optim_wrapper=wrapper))
        cli.enable_amp(config)
        assert config.optim_wrapper == ConfigDict(wrapper)


def test_dataloader_defaults_are_for_mmpretrain_alone():
    loader = dict(num_workers=2, collate_fn=dict(type="mine"))
    config = Config(
        dict(
            default_scope="mmpretrain",
            train_dataloader=dict(num_workers=0),
            test_dataloader=loader,
            val_dataloader=None,
        )
    )
    cli.set_dataloader_defaults(config)
    assert config.train_dataloader.collate_fn == dict(type="default_collate")
    # torch refuses persistent workers where there are none.
    assert config.train_dataloader.persistent_workers is False
    assert config.test_dataloader.persistent_workers is True
    assert config.test_dataloader.collate_fn == dict(type="mine")
    config = Config(dict(default_scope="mmdet", train_dataloader=dict(batch_size=1)))
    cli.set_dataloader_defaults(config)
    assert config.train_dataloader == dict(batch_size=1)


class TestAtomicCheckpoints:
    def test_the_default_hook(self):
        config = Config(dict())
        cli.save_atomically(config)
        assert config.default_hooks.checkpoint.type == "AtomicCheckpointHook"
        assert config.default_hooks.checkpoint.interval == 1
        assert config.custom_imports.imports == ["mms_plugin"]

    @pytest.mark.parametrize("kind", ["CheckpointHook", "mmengine.CheckpointHook"])
    def test_mmengines_hook_keeps_its_arguments(self, kind):
        hook = dict(type=kind, interval=3, save_best="auto")
        config = Config(dict(default_hooks=dict(checkpoint=hook)))
        cli.save_atomically(config)
        expected = dict(hook, type="AtomicCheckpointHook")
        assert config.default_hooks.checkpoint == expected

    @pytest.mark.parametrize(
        "hook",
        [
            dict(type="OwnHook"),
            dict(type="CheckpointHook", backend_args=dict(backend="petrel")),
            dict(type="CheckpointHook", out_dir="s3://bucket/run"),
        ],
    )
    def test_the_choice_of_the_user_stays(self, hook):
        config = Config(dict(default_hooks=dict(checkpoint=hook)))
        cli.save_atomically(config)
        assert config.default_hooks.checkpoint == hook
        assert "custom_imports" not in config


def test_a_dry_run_is_added_once():
    config = Config(dict(custom_hooks=[dict(type="EMAHook")]))
    for _ in range(2):
        cli.add_dry_run(config)
        kinds = [hook["type"] for hook in config.custom_hooks]
        assert kinds == ["EMAHook", "DryRunHook"]
