"""The length of a training whose epochs are not equally long."""

import pytest

from mms_plugin.multi_scale.training_length import TrainingLength

SCHEDULERS = [
    dict(
        type="MultiStepLR",
        milestones=[2, 4],
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(type="ConstantLR", factor=0.5, by_epoch=True, end=1),
]


def test_the_loop_and_converted_schedulers(make_runner):
    hook = dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])
    runner = make_runner(param_scheduler=SCHEDULERS, custom_hooks=[hook])
    loop = runner.train_loop
    sampler = loop.dataloader.batch_sampler
    before = [sampler.iterations_before(epoch) for epoch in range(6)]
    assert len({b - a for a, b in zip(before, before[1:])}) == 1
    runner.train()
    lengths = [len(sampler.plan(epoch)) for epoch in range(5)]
    assert len(set(lengths)) > 1
    assert loop.max_iters == runner.iter == sum(lengths)
    converted, by_epoch = runner.param_schedulers
    assert sorted(converted.milestones) == [sum(lengths[:2]), sum(lengths[:4])]
    assert by_epoch.by_epoch and by_epoch.end == 1


@pytest.mark.parametrize(
    "scheduler, warns",
    [
        (dict(type="MultiStepLR", milestones=[20, 100]), True),
        (dict(type="CosineAnnealingLR", T_max=125), True),
        (dict(type="LinearLR", end=125), False),  # a warm-up
        (dict(type="MultiStepLR", milestones=[20, 80]), False),
        (dict(type="PolyLR", power=1.0), False),  # ends with the training
        (dict(type="LinearLR", end=500), False),  # too late at a fixed size, too
        (dict(type="ConstantLR", end=10**9), False),
    ],
)
def test_iterations_that_were_counted_at_a_fixed_size(
    make_runner, scheduler, warns, caplog
):
    runner = make_runner(
        param_scheduler=[dict(scheduler, by_epoch=False)],
        custom_hooks=[dict(type="MultiScaleSamplerHook")],
    )
    sampler = runner.train_loop.dataloader.batch_sampler
    fixed = 5 * -(-len(sampler.inner_sampler) // sampler.batch_size)
    assert (fixed, sampler.total_batches(5)) == (125, 85)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    assert ("counts iterations and is set to" in caplog.text) is warns


def test_a_resumed_training_counts_as_the_current_settings_do(make_runner):
    runner = make_runner(param_scheduler=SCHEDULERS)
    loop = runner.train_loop
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    length = TrainingLength()
    sampler = loop.dataloader.batch_sampler
    length.correct(runner, sampler, len(sampler))
    loop._iter = 20
    length.count_from(runner, 17, "batch_size is 6 (was 4)")
    assert runner.iter == 17
    assert runner.message_hub.get_info("iter") == 17
    converted, by_epoch = runner.param_schedulers
    assert (converted.last_step, by_epoch.last_step) == (-3, 0)


@pytest.mark.parametrize("stopped", [1, 2, 3])
def test_schedules_end_with_a_longer_training(make_runner, tmp_path, stopped):
    """Whether or not the epochs before the checkpoint have another length now."""
    settings = dict(
        custom_hooks=[dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])],
        param_scheduler=dict(
            type="CosineAnnealingLR", by_epoch=True, convert_to_iter_based=True
        ),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
    )
    make_runner(train_cfg=dict(by_epoch=True, max_epochs=4), **settings).train()
    longer = make_runner(
        train_cfg=dict(by_epoch=True, max_epochs=8),
        resume=True,
        load_from=str(tmp_path / "run" / f"epoch_{stopped}.pth"),
        **settings,
    )
    longer.train()
    (cosine,) = longer.param_schedulers
    assert longer.iter == longer.max_iters == cosine.T_max
    assert longer.optim_wrapper.get_lr()["lr"][0] == pytest.approx(0.0, abs=1e-3)
