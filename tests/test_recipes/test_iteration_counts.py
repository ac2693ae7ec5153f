import pytest
from mmengine.config import Config
from mmengine.hooks import CheckpointHook

from mms_plugin.recipes.iteration_counts import (
    checkpoint_by_iteration,
    scale_iterations,
)


def config():
    return Config(
        dict(
            train_cfg=dict(
                type="mmengine.IterBasedTrainLoop",
                max_iters=8000,
                val_interval=500,
                dynamic_intervals=[(7000, 100)],
            ),
            param_scheduler=[
                dict(type="PolyLR", by_epoch=False, begin=0, end=8000, power=0.9),
                dict(type="MultiStepLR", by_epoch=False, milestones=[4000, 6000]),
                dict(type="ConstantLR", by_epoch=False, end=10**9),
                dict(type="StepLR", step_size=3),  # by epoch
            ],
            default_hooks=dict(
                checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=500),
                logger=dict(type="LoggerHook", interval=50),
            ),
        )
    )


def test_every_time_of_the_training_is_scaled_alike():
    changed, lines = config(), []
    scale_iterations(changed, 1 / 4, lines.append)
    assert changed.train_cfg == dict(
        type="mmengine.IterBasedTrainLoop",
        max_iters=2000,
        val_interval=125,
        dynamic_intervals=[(1750, 25)],
    )
    poly, steps, constant, by_epoch = changed.param_scheduler
    assert (poly.begin, poly.end, poly.power) == (0, 2000, 0.9)
    assert steps.milestones == [1000, 1500]
    assert (constant.end, by_epoch.step_size) == (10**9, 3)
    assert changed.default_hooks.checkpoint.interval == 125
    assert changed.default_hooks.logger.interval == 50
    assert "train_cfg.max_iters: 8000 -> 2000" in lines
    assert "param_scheduler[1].milestones: [4000, 6000] -> [1000, 1500]" in lines
    assert len(lines) == 6


def test_counts_of_hooks_and_of_further_schedulers():
    changed, lines = config(), []
    changed.param_scheduler = [
        dict(type="ExponentialLR", by_epoch=False, gamma=0.99**2, end=400),
        dict(type="CosineRestartLR", by_epoch=False, periods=[600, 200]),
        dict(type="MultiStepLR", by_epoch=False, milestones=[800], gamma=0.1),
        dict(type="ExponentialLR", gamma=0.9),  # by epoch
    ]
    changed.default_hooks.checkpoint.update(interval=-1, save_begin=4000)
    changed.custom_hooks = [dict(type="A"), dict(type="EMAHook", begin_iter=2000)]
    scale_iterations(changed, 1 / 2, lines.append)
    exponential, cosine, steps, by_epoch = changed.param_scheduler
    # In half the iterations the same decay: of each iteration that of two.
    assert exponential.gamma == pytest.approx(0.99**4) and exponential.end == 200
    assert cosine.periods == [300, 100]
    assert (steps.milestones, steps.gamma, by_epoch.gamma) == ([400], 0.1, 0.9)
    checkpoint = changed.default_hooks.checkpoint
    assert (checkpoint.interval, checkpoint.save_begin) == (-1, 2000)
    assert changed.custom_hooks[1].begin_iter == 1000
    assert "custom_hooks[1].begin_iter: 2000 -> 1000" in lines
    assert "default_hooks.checkpoint.save_begin: 4000 -> 2000" in lines


@pytest.mark.parametrize("factor", [0.83333, 0.61, 1 / 3, 1.37])
def test_intervals_that_end_with_the_training_still_do(factor):
    changed = config()
    changed.train_cfg.update(max_iters=160_000, val_interval=16_000)
    changed.train_cfg.dynamic_intervals = [(144_000, 4_000), (150_000, 7_000)]
    changed.default_hooks.checkpoint.interval = 32_000
    scale_iterations(changed, factor, lambda line: None)
    most = round(160_000 * factor)
    late, own = changed.train_cfg.dynamic_intervals
    for number, interval in (
        (10, changed.train_cfg.val_interval),
        (40, late[1]),
        (5, changed.default_hooks.checkpoint.interval),
    ):
        # As many intervals as before: the last is cut short, if by little.
        assert (number - 1) * interval < most <= number * interval < most + number
    assert (changed.train_cfg.max_iters, own[1]) == (most, round(7_000 * factor))


def test_the_same_length_changes_nothing():
    changed, lines = config(), []
    scale_iterations(changed, 1.0, lines.append)
    assert changed.to_dict() == config().to_dict() and not lines


def test_lists_stay_lists_and_tuples_stay_tuples():
    changed, lines = config(), []
    changed.train_cfg.update(max_iters=100, val_interval=20)
    changed.train_cfg.dynamic_intervals = [[70, 10]]
    changed.param_scheduler = dict(
        type="MultiStepLR", by_epoch=False, milestones=(40, 60)
    )
    changed.default_hooks.checkpoint.interval = 20
    scale_iterations(changed, 1.0, lines.append)
    assert lines == []
    scale_iterations(changed, 2.0, lines.append)
    assert changed.train_cfg.dynamic_intervals == [[140, 20]]
    assert changed.param_scheduler.milestones == (80, 120)


def test_schedules_of_several_optimizers():
    changed, lines = config(), []
    changed.param_scheduler = dict(
        generator=dict(type="PolyLR", by_epoch=False, end=8000),
        discriminator=[dict(type="MultiStepLR", by_epoch=False, milestones=[4000])],
    )
    scale_iterations(changed, 1 / 2, lines.append)
    assert changed.param_scheduler.to_dict() == dict(
        generator=dict(type="PolyLR", by_epoch=False, end=4000),
        discriminator=[dict(type="MultiStepLR", by_epoch=False, milestones=[2000])],
    )
    assert "param_scheduler.generator.end: 8000 -> 4000" in lines
    assert "param_scheduler.discriminator[0].milestones: [4000] -> [2000]" in lines


def test_only_a_checkpoint_hook_that_counts_iterations_is_found():
    assert checkpoint_by_iteration(config()) == config().default_hooks.checkpoint
    for hook in (None, dict(interval=3), CheckpointHook(interval=3, by_epoch=False)):
        assert checkpoint_by_iteration(dict(default_hooks=dict(checkpoint=hook))) == {}
    assert checkpoint_by_iteration({}) == {}


def test_no_count_becomes_zero():
    changed = config()
    scale_iterations(changed, 1e-6, lambda line: None)
    assert changed.train_cfg.max_iters == changed.train_cfg.val_interval == 1
