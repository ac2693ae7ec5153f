"""What --recipe is told of the training by the command itself."""

import argparse

import pytest
from mmengine.config import Config

from mms_plugin import cli
from mms_plugin.analysis.model_flops import COUNTING
from mms_plugin.cli.launching import launched_world_size


@pytest.mark.parametrize(
    "launcher, variable",
    [
        ("pytorch", "WORLD_SIZE"),
        ("slurm", "SLURM_NTASKS"),
        ("mpi", "OMPI_COMM_WORLD_SIZE"),
    ],
)
def test_ranks_of_a_launcher(monkeypatch, launcher, variable):
    monkeypatch.delenv(variable, raising=False)
    assert launched_world_size(launcher) == 1
    monkeypatch.setenv(variable, "6")
    assert launched_world_size(launcher) == 6
    assert launched_world_size("none") == 1


def config():
    return Config(
        dict(
            train_cfg=dict(by_epoch=True, max_epochs=2),
            train_dataloader=dict(
                batch_size=2,
                sampler=dict(type="DefaultSampler", shuffle=True),
                dataset=dict(type="Unknown"),
            ),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
            auto_scale_lr=dict(base_batch_size=4),
        )
    )


def convert(options, **known):
    args = argparse.Namespace(recipe="agvm", recipe_options=options, **known)
    return cli.apply_recipe_arguments(config(), args)


def test_ranks_and_samples_of_the_command_reach_the_recipe():
    after = convert(dict(batch_size=32), world_size=4, num_samples=320)
    assert after.optim_wrapper.accumulative_counts == 4
    assert after.optim_wrapper.optimizer.lr == pytest.approx(0.1 * 8**0.5)
    same = convert(
        dict(batch_size=32, world_size=4, num_samples=320),
        world_size=4,
        num_samples=320,
    )
    assert same.to_dict() == after.to_dict()


def test_ranks_of_the_launcher_reach_the_recipe(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    after = convert(dict(batch_size=32, num_samples=320), launcher="pytorch")
    assert after.optim_wrapper.accumulative_counts == 8


def test_another_number_of_ranks_is_refused():
    with pytest.raises(cli.UserError, match="world_size=8 contradicts .* world_size=4"):
        convert(dict(batch_size=32, world_size=8), world_size=4, num_samples=320)


def test_without_a_batch_nothing_is_told():
    after = convert(None, world_size=4, num_samples=320)
    assert after.optim_wrapper.get("accumulative_counts") is None


@pytest.mark.parametrize("names", [("keep", "keep.a"), ("keep.a", "keep")])
def test_an_option_and_a_part_of_it_are_refused_in_either_order(names):
    with pytest.raises(cli.UserError, match="has keep twice, keep.a=images"):
        convert(dict.fromkeys(names, "images"))


def test_what_takes_long_is_told_at_once(monkeypatch, capsys):
    """The changes only if all of them can be made."""

    def apply(config, recipe, options, note):
        note("vbs", "train_dataloader: changed")
        note("vbs", f"{COUNTING} at 640x640 (1 of 3)")
        assert "(1 of 3)" in capsys.readouterr().err
        if fails:
            raise ValueError("budget=0.1 cannot be reached")
        return config

    monkeypatch.setattr("mms_plugin.cli.recipe_arguments.apply_recipes", apply)
    fails = True
    with pytest.raises(cli.UserError, match="budget=0.1 cannot be reached"):
        convert(None)
    assert capsys.readouterr().err == ""
    fails = False
    convert(None)
    assert capsys.readouterr().err == "--recipe vbs: train_dataloader: changed\n"
