"""The log of what is lost at each size."""

import logging
import math

import pytest
from size_loss_toys import LARGE, LOADER, SMALL, config

from mms_plugin.multi_scale.size_loss_log import loss_lines
from mms_plugin.multi_scale.size_losses import SizeLosses


def told_in(runner):
    """Train, and return the lines of the log."""
    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    runner.logger.addHandler(handler)
    runner.train()
    return told


@pytest.mark.parametrize("loop", ["epochs", "iterations", "endless"])
def test_the_log_says_it_once_an_epoch(make_runner, loop):
    loader = dict(LOADER, num_workers=2, persistent_workers=True)
    loader["dataset"] = dict(type="MultiScaleDataset", dataset=config())
    train_cfg = dict(by_epoch=True, max_epochs=2)
    if loop != "epochs":
        train_cfg = dict(by_epoch=False, max_iters=12)
    if loop == "endless":
        loader["sampler"] = dict(type="InfiniteSampler", shuffle=True)
    runner = make_runner(
        train_dataloader=loader,
        train_cfg=train_cfg,
        custom_hooks=[dict(type="ResolutionCurriculumHook", schedule="constant")],
        log_level="INFO",
    )
    told = told_in(runner)
    lines = [line for line in told if "at 64x64" in line]
    assert lines and not [line for line in told if "at 128x128 " in line]
    assert all("boxes" in line for line in lines)
    # Where workers load on into the next epoch, how many samples a line has depends on
    # the clock, and a few samples may all have kept an object.
    replaced = ["replaced by others" in line for line in lines]
    assert all(replaced) if loop == "epochs" else any(replaced)
    if loop == "epochs":
        assert [line.split(":")[0] for line in lines] == ["Epoch 1", "Epoch 2"]
        # All of both epochs, each counted once.
        total = runner.train_loop.dataloader.dataset.size_losses()[SMALL]
        counts = [int(line.split("at 64x64 ")[1].split(" of ")[0]) for line in lines]
        assert sum(counts) == total.replaced
    else:
        assert 1 < len(lines) < 12


def test_ranks_share_a_pass_over_the_dataset(make_runner, monkeypatch):
    hook = "mms_plugin.hooks.multi_scale_sampler_hook.get_world_size"
    monkeypatch.setattr(hook, lambda: 3)
    loader = dict(LOADER, sampler=dict(type="InfiniteSampler", shuffle=True))
    loader["batch_size"] = 1
    loader["dataset"] = dict(type="MultiScaleDataset", dataset=config())
    runner = make_runner(
        train_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=24),
        custom_hooks=[dict(type="MultiScaleSamplerHook")],
        log_level="INFO",
    )
    told = told_in(runner)
    numbers = [int(line.split()[1][:-1]) for line in told if "at 64x64" in line]
    period = math.ceil(len(runner.train_loop.dataloader.batch_sampler) / 3)
    assert period > 1 and len(numbers) > 2
    assert all(number % period == 0 for number in numbers if number != 24)


def test_lines_warn_of_many_images():
    few, many = SizeLosses(100, 1, 0, 200, 5), SizeLosses(100, 11, 0, 200, 20)
    lines = loss_lines({SMALL: many, LARGE: few, (9, 9): SizeLosses(7, 0, 0, 9, 0)})
    assert [level for _, level in lines] == [logging.WARNING, logging.INFO]
    assert lines[0][0] == (
        "at 64x64 11 of 100 images (11.0%) were replaced by others because no object "
        "was left, 20 of 200 boxes (10.0%) were too small"
    )
