"""Warnings of a sampler without its hook, and of a resume without a method."""

import pytest
from mmengine.config import Config
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from mms_plugin import MultiScaleSamplerHook, cli

AGVM = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="SGD", lr=0.1),
    agvm=dict(modules=["norm"], anchor="norm", start_iter=0),
)
PLAIN = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1))
SIZES = dict(batch_sampler=dict(type="MultiScaleVariableBatchSampler", base_size=8))
ONE_SIZE = dict(batch_sampler=dict(type="BatchSampler"))


@HOOKS.register_module()
class OwnSamplerHook(MultiScaleSamplerHook):
    """A user's own."""


def warnings_of(capsys, loader=ONE_SIZE, wrapper=PLAIN, **settings):
    config = Config(dict(train_dataloader=loader, optim_wrapper=wrapper, **settings))
    cli.warn_of_missing_parts(config)
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("loader", "hooks", "warns"),
    [
        (SIZES, [], True),
        (SIZES, [dict(type="EMAHook")], True),
        (SIZES, [dict(type="NotRegistered")], True),
        (SIZES, [dict(type="MultiScaleSamplerHook")], False),
        (SIZES, [dict(type="ResolutionCurriculumHook")], False),
        (SIZES, [dict(type=OwnSamplerHook)], False),
        (ONE_SIZE, [], False),
    ],
)
def test_the_sampler_without_its_hook(loader, hooks, warns, capsys):
    text = warnings_of(capsys, loader, custom_hooks=hooks)
    assert ("no curriculum, no sizes in the log, no exact resume" in text) is warns
    assert text.count("\n") == warns
    among_others = dict(own=hooks[0], other=None) if hooks else {}
    text = warnings_of(capsys, loader, default_hooks=among_others)
    assert bool(text) is warns


@pytest.mark.parametrize("agvm", [False, True])
def test_a_resume_without_what_it_began_with(agvm, make_runner, tmp_path, capsys):
    hook = dict(type="MultiScaleSamplerHook")
    make_runner(
        model=dict(type="ToyNormModel"),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=AGVM if agvm else PLAIN,
        custom_hooks=[hook],
    ).train()
    capsys.readouterr()
    resumed = dict(resume=True, load_from=str(tmp_path / "run" / "epoch_1.pth"))
    same = dict(loader=SIZES, wrapper=AGVM, custom_hooks=[hook])
    assert warnings_of(capsys, **same, **resumed) == ""
    text = warnings_of(capsys, **resumed)
    assert "is of a training with MultiScaleVariableBatchSampler, which this" in text
    assert ("is of a training with AGVM, which this config does not" in text) is agvm
    assert text.count("\n") == 1 + agvm
    # Its weights may be taken, and what is no checkpoint is told later.
    assert warnings_of(capsys, **dict(resumed, resume=False)) == ""
    assert (
        warnings_of(capsys, **dict(resumed, load_from=str(tmp_path / "no.pth"))) == ""
    )
    assert warnings_of(capsys, **dict(resumed, load_from=__file__)) == ""


def test_a_plain_training_is_not_warned_of(make_runner, tmp_path, capsys):
    runner: Runner = make_runner(train_cfg=dict(by_epoch=True, max_epochs=1))
    runner.train()
    capsys.readouterr()
    resumed = dict(resume=True, load_from=str(tmp_path / "run" / "epoch_1.pth"))
    assert warnings_of(capsys, **resumed) == ""
