"""The length of a training whose epochs are not equally long."""

import math

import pytest
import torch
import toys
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from mmengine.runner import FlexibleRunner, Runner

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


@pytest.mark.parametrize("accumulative_counts", [2, 3])
def test_flexible_runner_accumulates_as_runner_does(make_runner, accumulative_counts):
    """Its optimizer wrapper gets the length of the training before the hooks."""
    hook = dict(type="ResolutionCurriculumHook")
    weights = []
    for kind in (Runner, FlexibleRunner):
        runner = make_runner(
            kind=kind,
            env_cfg=dict(),
            # Longer than with all sizes from the start, as MMEngine assumes.
            custom_hooks=[dict(hook, start_sizes=[10, 12], end_sizes=[8])],
            optim_wrapper=dict(
                optimizer=dict(type="SGD", lr=0.1),
                accumulative_counts=accumulative_counts,
            ),
        )
        runner.train()
        weights.append(runner.model.weight.detach().clone())
    assert runner.iter == runner.max_iters > 100
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    "scheduler, warns",
    [
        (dict(type="MultiStepLR", milestones=[20, 100]), True),
        (dict(type="CosineAnnealingLR", T_max=125), True),
        (dict(type="LinearLR", end=125), True),  # a warm-up that never ends
        (dict(type="LinearLR", end=80), False),
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


class Rates(Hook):
    """Notes the learning rate of each iteration."""

    priority = "LOWEST"

    def __init__(self):
        self.of = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.of[runner.iter] = runner.optim_wrapper.get_lr()["lr"][0]


CONVERTED = dict(by_epoch=True, convert_to_iter_based=True)
WARMUP = dict(type="LinearLR", start_factor=0.1, end=2, **CONVERTED)
SCHEDULES = {
    "cosine": [WARMUP, dict(type="CosineAnnealingLR", begin=2, T_max=3, **CONVERTED)],
    "steps": [WARMUP, dict(type="MultiStepLR", begin=2, milestones=[1], **CONVERTED)],
    "iterations": [
        dict(type="LinearLR", start_factor=0.001, end=30, by_epoch=False),
        dict(type="MultiStepLR", milestones=[4], by_epoch=True),
    ],
}


@pytest.mark.parametrize("stopped, first, then", [(1, 4, 8), (3, 8, 4)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_after_a_recount_are_those_of_the_current_settings(
    make_runner, tmp_path, schedule, stopped, first, then
):
    def train(batch_size, **changes):
        rates = Rates()
        runner = make_runner(
            train_dataloader=toys.train_dataloader(batch_size=batch_size),
            param_scheduler=SCHEDULES[schedule],
            custom_hooks=[dict(type="MultiScaleSamplerHook")],
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
            **changes,
        )
        runner.register_hook(rates)
        runner.train()
        return runner, rates.of

    train(first)
    checkpoint = tmp_path / "run" / f"epoch_{stopped}.pth"
    resumed, rates = train(then, resume=True, load_from=str(checkpoint))
    _, expected = train(then, work_dir=str(tmp_path / "other"))
    assert len(rates) == len(expected) * (5 - stopped) / 5
    assert rates == pytest.approx({i: expected[i] for i in rates})
    assert resumed.message_hub.get_info("iter") == len(expected) - 1


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
    rates = Rates()
    longer.register_hook(rates)
    longer.train()
    (cosine,) = longer.param_schedulers
    assert longer.iter == longer.max_iters == cosine.T_max
    assert longer.optim_wrapper.get_lr()["lr"][0] == pytest.approx(0.0, abs=1e-3)
    # The rate does not begin at the end of the shorter schedule.
    expected = [0.05 * (1 + math.cos(math.pi * i / cosine.T_max)) for i in rates.of]
    assert list(rates.of.values()) == pytest.approx(expected)


COSINE = dict(type="CosineAnnealingLR", by_epoch=True)


@pytest.mark.parametrize("hook", ["MultiScaleSamplerHook", "ResolutionCurriculumHook"])
@pytest.mark.parametrize("first, then", [(4, 8), (8, 4)])
@pytest.mark.parametrize(
    "schedule",
    [
        lambda epochs: [COSINE],
        lambda epochs: [dict(COSINE, T_max=epochs, end=epochs)],
        lambda epochs: [
            dict(type="LinearLR", start_factor=0.1, end=2),
            dict(type="PolyLR", power=0.9, begin=2, end=epochs),
        ],
    ],
    ids=["cosine", "cosine-set", "warmup-poly"],
)
def test_schedules_by_epoch_end_with_another_length(
    make_runner, tmp_path, hook, first, then, schedule
):
    settings = dict(custom_hooks=[dict(type=hook)])
    make_runner(
        train_cfg=dict(by_epoch=True, max_epochs=first),
        param_scheduler=schedule(first),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
        **settings,
    ).train()
    rates = []
    for resumed in (False, True):
        runner = make_runner(
            train_cfg=dict(by_epoch=True, max_epochs=then),
            param_scheduler=schedule(then),
            resume=resumed,
            load_from=str(tmp_path / "run" / "epoch_3.pth") if resumed else None,
            work_dir=str(tmp_path / f"longer_{resumed}"),
            **settings,
        )
        rates.append(Rates())
        runner.register_hook(rates[-1])
        runner.train()
    whole, rest = (each.of for each in rates)
    assert rest and all(rest[i] == pytest.approx(whole[i]) for i in rest)


def test_schedules_of_a_training_by_iterations_end_with_another_length(
    make_runner, tmp_path
):
    def settings(iterations):
        return dict(
            custom_hooks=[dict(type="MultiScaleSamplerHook")],
            train_cfg=dict(by_epoch=False, max_iters=iterations),
            train_dataloader=toys.train_dataloader(
                sampler=dict(type="InfiniteSampler", seed=1)
            ),
            param_scheduler=[
                dict(type="PolyLR", by_epoch=False, end=iterations, eta_min=0.0)
            ],
        )

    checkpoints = dict(type="CheckpointHook", by_epoch=False, interval=12)
    make_runner(**settings(24), default_hooks=dict(checkpoint=checkpoints)).train()
    longer = make_runner(
        **settings(36),
        resume=True,
        load_from=str(tmp_path / "run" / "iter_12.pth"),
        work_dir=str(tmp_path / "longer"),
    )
    rates = Rates()
    longer.register_hook(rates)
    longer.train()
    assert sorted(rates.of) == list(range(12, 36))
    # MMEngine's PolyLR reaches its end in the last iteration, the 36th.
    expected = [0.1 * (1 - i / 35) for i in sorted(rates.of)]
    assert [rates.of[i] for i in sorted(rates.of)] == pytest.approx(expected)


FIXED_SIZE = dict(
    batch_size=4,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="ToyDataset",
        pipeline=[
            dict(type="MakeImage", scale=(8, 8)),
            dict(type="CollectWithoutSize"),
        ],
    ),
)


def test_what_a_schedule_has_seen_of_the_metrics_is_kept(make_runner, tmp_path):
    settings = dict(
        model=dict(type="ToyNormModel"),
        custom_hooks=[dict(type="MultiScaleSamplerHook")],
        param_scheduler=dict(
            type="ReduceOnPlateauLR", monitor="count", rule="less", patience=9
        ),
        val_dataloader=FIXED_SIZE,
        val_evaluator=dict(type="CountSamples"),
        val_cfg=dict(),
    )
    first = make_runner(train_cfg=dict(by_epoch=True, max_epochs=3), **settings)
    first.train()
    longer = make_runner(
        train_cfg=dict(by_epoch=True, max_epochs=5),
        resume=True,
        load_from=str(tmp_path / "run" / "epoch_3.pth"),
        **settings,
    )
    longer.train()
    (plateau,) = longer.param_schedulers
    # The metric is always the same, so that none is better than the first. MMEngine
    # does not count the last validation.
    assert first.param_schedulers[0].num_bad_epochs == 1
    assert plateau.num_bad_epochs == 2


@MODELS.register_module()
class TwoParts(toys.ToyModel):
    """Has two modules for AGVM."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.backbone, self.head = torch.nn.Linear(1, 2), torch.nn.Linear(2, 2)

    def forward(self, inputs, i, target_size=None, mode="loss"):
        losses = super().forward(inputs, i, target_size, mode)
        x = self.head(self.backbone(inputs.mean((1, 2, 3))[:, None]))
        return dict(losses, loss_x=(x - 1).pow(2).mean())


AGVM = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="SGD", lr=0.1),
    agvm=dict(start_iter=2, interval=2, momentum=0.5),
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("before", ["plain", "multi-scale", "other modules"])
def test_rates_of_every_group_when_agvm_is_added_on_resume(
    make_runner, tmp_path, before
):
    hook = dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])
    multi_scale = dict(custom_hooks=[hook])
    common = dict(
        model=dict(type="TwoParts"),
        param_scheduler=SCHEDULES["cosine"],
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
    )
    then = dict(common, **multi_scale, optim_wrapper=AGVM)
    if before == "plain":
        first = dict(common, train_dataloader=FIXED_SIZE)
    elif before == "multi-scale":
        first = dict(common, **multi_scale)
    else:
        whole = dict(AGVM["agvm"], modules=["backbone"])
        first = dict(then, optim_wrapper=dict(AGVM, agvm=whole))
    shorter = 5 if before == "plain" else 4
    make_runner(train_cfg=dict(by_epoch=True, max_epochs=shorter), **first).train()

    def train(**changes):
        seen = {}

        class See(Hook):
            priority = "LOWEST"

            def before_train_iter(self, runner, batch_idx, data_batch=None):
                groups = runner.optim_wrapper.optimizer.param_groups
                seen[runner.iter] = [group["lr"] for group in groups]

        runner = make_runner(**then, **changes)
        runner.register_hook(See())
        runner.train()
        return seen

    resumed = train(resume=True, load_from=str(tmp_path / "run" / "epoch_2.pth"))
    expected = train(work_dir=str(tmp_path / "other"))
    assert 0 < len(resumed) < len(expected) and len(expected[0]) == 3
    for iteration, rates in resumed.items():
        assert rates == pytest.approx(expected[iteration])
