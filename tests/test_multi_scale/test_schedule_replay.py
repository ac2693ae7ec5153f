"""Where the parameter schedulers would be after some epochs and iterations."""

import copy
import warnings

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from mms_plugin.multi_scale.schedule_replay import replay_schedules

CONFIGS = {
    "warm-up and cosine": [
        dict(type="LinearLR", start_factor=0.001, by_epoch=False, end=7),
        dict(type="CosineAnnealingLR", by_epoch=False, begin=7, end=40, T_max=33),
    ],
    "warm-up and steps by epoch": [
        dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=12),
        dict(type="MultiStepLR", milestones=[1, 3], gamma=0.1),
    ],
    "late start": [
        dict(type="MultiStepLR", by_epoch=False, begin=30, milestones=[4, 6]),
    ],
    "one cycle": [dict(type="OneCycleLR", eta_max=1.0, total_steps=50, by_epoch=False)],
    "learning rate and momentum": [
        dict(type="PolyLR", eta_min=0.01, power=0.9, by_epoch=False, end=60),
        dict(type="CosineAnnealingMomentum", eta_min=0.5, T_max=60, by_epoch=False),
        dict(type="ConstantLR", factor=0.5, end=2),
    ],
    "restarts": [
        dict(
            type="CosineRestartLR",
            periods=[10, 40],
            restart_weights=[1, 0.5],
            eta_min=0.01,
            by_epoch=False,
        )
    ],
}
RATES = (0.1, 0.1, 0.2, 0.1, 0.05)


def built(configs, optimizer="sgd"):
    """Schedulers on an optimizer whose groups have three different rates."""
    groups = [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=r) for r in RATES]
    if optimizer == "sgd":
        made = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    else:
        made = torch.optim.AdamW(groups, lr=0.1)
    wrapper = OptimWrapper(made)
    # As the default constructor does where a group has a rate of its own.
    wrapper.base_param_settings = dict(params=torch.tensor([0.0]), **made.defaults)
    schedulers = [
        PARAM_SCHEDULERS.build(copy.deepcopy(c), default_args=dict(optimizer=wrapper))
        for c in configs
    ]
    return wrapper, schedulers


def train(schedulers, lengths, more):
    """Step them as ParamSchedulerHook does."""
    for index, length in enumerate([*lengths, more]):
        for _ in range(length):
            [s.step() for s in schedulers if not s.by_epoch]
        if index < len(lengths):
            [s.step() for s in schedulers if s.by_epoch]


def state(wrapper, schedulers):
    groups = [
        {k: v for k, v in group.items() if k != "params"}
        for group in wrapper.param_groups
    ]
    return groups, [
        (s.last_step, s._global_step, s.get_last_value()) for s in schedulers
    ]


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("configs", CONFIGS.values(), ids=CONFIGS)
def test_values_and_counts_are_those_of_a_training(configs, optimizer):
    wrapper, schedulers = built(configs, optimizer)
    train(schedulers, [9, 11], 5)
    for lengths, more in (([9, 11], 5), ([4], 3), ([], 0), ([10, 15, 12], 0)):
        expected, wanted = built(configs, optimizer)
        train(wanted, lengths, more)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert replay_schedules(schedulers, lengths, more)
        assert state(wrapper, schedulers) == state(expected, wanted)
        # And from there on.
        train(schedulers, [6], 4)
        train(wanted, [6], 4)
        assert state(wrapper, schedulers) == state(expected, wanted)


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")
def test_a_rate_that_follows_metrics_stays():
    wrapper, schedulers = built(
        [
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=12),
            dict(type="ReduceOnPlateauLR", patience=0, monitor="loss"),
        ]
    )
    train(schedulers, [8, 8], 0)
    for _ in range(2):
        schedulers[1].step(dict(loss=1.0))
    before, _ = state(wrapper, schedulers)
    assert before[0]["lr"] == pytest.approx(0.01)
    assert not replay_schedules(schedulers, [4, 4], 0)
    after, ((last, count, _), (_, epochs, _)) = state(wrapper, schedulers)
    assert after == before and (last, count, epochs) == (8, 8, 2)
    assert not replay_schedules(schedulers[1:], [4], 0)


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")
def test_groups_of_a_checkpoint_without_schedulers():
    wrapper, schedulers = built(CONFIGS["late start"])
    for group in wrapper.param_groups:
        del group["initial_lr"]
    assert replay_schedules(schedulers, [20, 20], 0)
    assert [s.last_step for s in schedulers] == [10]
    assert wrapper.optimizer.param_groups[2]["lr"] == pytest.approx(0.002)


@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")
def test_schedules_of_a_checkpoint_with_fewer_groups():
    wrapper, schedulers = built(CONFIGS["late start"])
    for scheduler in schedulers:
        saved = scheduler.state_dict()
        saved.update(base_values=[0.1], _last_value=[0.1])
        scheduler.load_state_dict(saved)
    assert replay_schedules(schedulers, [20, 20], 0)
    rates = [group["lr"] for group in wrapper.param_groups]
    # The base settings are those of the optimizer itself.
    assert rates == pytest.approx([rate * 0.01 for rate in (*RATES, 0.1)])
    train(schedulers, [], 5)  # later steps leave no group out
    assert schedulers[0].get_last_value() == pytest.approx(rates)


def test_no_schedulers():
    assert not replay_schedules([], [3], 1)
