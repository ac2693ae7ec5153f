import math

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS

from mms_plugin.multi_scale.scheduler_times import (
    convert_to_iterations,
    epoch_map,
    retime_schedulers,
)

# Four epochs of 10, 20, 30 and 40 iterations; MMEngine took each to have 40.
STARTS = [0, 10, 30, 60, 100]
BEFORE = epoch_map(lambda epoch: STARTS[epoch])


def test_epochs_and_parts_of_epochs():
    assert [BEFORE(e) for e in (0, 1, 2.5, 3.99, 4)] == [0, 10, 45, 99, 100]


@pytest.mark.parametrize(
    "config, expected",
    [
        (
            dict(type="CosineAnnealingLR", T_max=4, begin=0, end=4),
            dict(T_max=100, begin=0, end=100),
        ),
        (
            dict(type="CosineAnnealingLR", T_max=3, begin=1),
            dict(T_max=90, begin=10, end=100),
        ),
        (
            dict(type="MultiStepLR", milestones=[1, 2], begin=1, end=4),
            dict(milestones=[20, 50], begin=10, end=100),
        ),
        (
            dict(type="CosineRestartLR", periods=[1, 3], restart_weights=[1, 1]),
            dict(periods=[10, 90], begin=0, end=100),
        ),
        (
            dict(type="OneCycleLR", eta_max=1.0, total_steps=4),
            dict(total_steps=100, begin=0, end=100),
        ),
        (dict(type="StepLR", step_size=2), dict(step_size=50, begin=0, end=100)),
        (dict(type="LinearLR", begin=0, end=0.5), dict(begin=0, end=5)),
    ],
)
def test_convert_to_iterations(config, expected):
    given = dict(config, convert_to_iter_based=True, by_epoch=True)
    times = convert_to_iterations(given, BEFORE, 4)
    assert times["by_epoch"] is False and "convert_to_iter_based" not in times
    assert {k: times[k] for k in expected} == expected
    assert given["convert_to_iter_based"]  # the config given is left as it was


def run(configs, known, warmup=None):
    """Rates of 100 iterations, as MMEngine would build and step the schedulers."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    built = []
    for config in configs:
        config = dict(config)
        config.setdefault("end", 4 if config.get("by_epoch", True) else 160)
        built.append(
            PARAM_SCHEDULERS.build(
                config, default_args=dict(optimizer=optimizer, epoch_length=40)
            )
        )
    retime_schedulers(built, configs if known else None, BEFORE, 4, 40)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in built:
            if not scheduler.by_epoch:
                scheduler.step()
    return rates, built


KNOWN = pytest.mark.parametrize("known", [True, False])
CONVERTED = dict(by_epoch=True, convert_to_iter_based=True)


@KNOWN
def test_converted_cosine_ends_with_the_training(known):
    rates, _ = run([dict(type="CosineAnnealingLR", T_max=4, **CONVERTED)], known)
    expected = [(1 + math.cos(math.pi * i / 100)) / 2 for i in range(100)]
    assert rates == pytest.approx(expected, abs=1e-9)


@KNOWN
def test_warm_up_by_iteration_is_left_alone(known):
    rates, _ = run(
        [
            dict(type="LinearLR", start_factor=0.1, by_epoch=False, begin=0, end=6),
            dict(type="MultiStepLR", milestones=[2, 3], gamma=0.1, **CONVERTED),
        ],
        known,
    )
    warm_up = [0.1 + 0.9 * i / 5 for i in range(5)]
    expected = warm_up + [1.0] * 25 + [0.1] * 30 + [0.01] * 40
    assert rates == pytest.approx(expected, abs=1e-9)


@KNOWN
def test_converted_warm_up_and_cosine_after_it(known):
    rates, _ = run(
        [
            dict(type="LinearLR", start_factor=0.1, end=1, **CONVERTED),
            dict(type="CosineAnnealingLR", begin=1, end=4, T_max=3, **CONVERTED),
        ],
        known,
    )
    warm_up = [0.1 + 0.9 * i / 9 for i in range(10)]
    cosine = [(1 + math.cos(math.pi * i / 90)) / 2 for i in range(90)]
    assert rates == pytest.approx(warm_up + cosine, abs=1e-9)


@KNOWN
def test_by_iteration_to_the_end_of_the_training(known):
    rates, _ = run([dict(type="PolyLR", by_epoch=False, power=1.0)], known)
    # MMEngine's polynomial reaches 0 at its last step but one.
    assert rates == pytest.approx([1 - i / 99 for i in range(100)], abs=1e-6)


@KNOWN
def test_by_iteration_from_the_middle_to_the_end(known):
    rates, _ = run([dict(type="CosineAnnealingLR", by_epoch=False, begin=7)], known)
    expected = [1.0] * 7 + [(1 + math.cos(math.pi * i / 93)) / 2 for i in range(93)]
    assert rates == pytest.approx(expected, abs=1e-6)


def test_one_cycle_and_restarts_with_their_configs():
    rates, _ = run(
        [dict(type="OneCycleLR", eta_max=1.0, total_steps=4, **CONVERTED)], True
    )
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    reference = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=100, cycle_momentum=False
    )
    expected = []
    for _ in range(100):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < 100:
            reference.step()
    assert rates == pytest.approx(expected, abs=1e-9)
    restart = dict(
        type="CosineRestartLR", periods=[1, 3], restart_weights=[1, 1], eta_min=0.0
    )
    rates, _ = run([dict(**restart, **CONVERTED)], True)
    expected = [(1 + math.cos(math.pi * i / 10)) / 2 for i in range(10)]
    expected += [(1 + math.cos(math.pi * i / 90)) / 2 for i in range(90)]
    assert rates == pytest.approx(expected, abs=1e-6)


def test_momentum_schedules_change_adams_betas():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([weight], betas=(0.9, 0.99))
    config = dict(
        type="CosineAnnealingMomentum", T_max=4, end=4, eta_min=0.5, **CONVERTED
    )
    arguments = dict(optimizer=optimizer, epoch_length=40)
    scheduler = PARAM_SCHEDULERS.build(dict(config), default_args=arguments)
    retime_schedulers([scheduler], [config], BEFORE, 4, 40)
    betas = []
    for _ in range(100):
        betas.append(optimizer.param_groups[0]["betas"])
        optimizer.step()
        scheduler.step()
    cosine = [0.5 + 0.4 * (1 + math.cos(math.pi * i / 100)) / 2 for i in range(100)]
    assert [beta for beta, _ in betas] == pytest.approx(cosine, abs=1e-9)
    assert {second for _, second in betas} == {0.99}


@KNOWN
def test_by_epoch_is_left_alone(known):
    _, built = run([dict(type="MultiStepLR", milestones=[2, 3], by_epoch=True)], known)
    assert sorted(built[0].milestones) == [2, 3] and built[0].end == 4


def test_what_cannot_be_corrected_without_its_config_is_said():
    with pytest.warns(UserWarning, match="Runner.from_cfg"):
        run([dict(type="StepLR", step_size=2, **CONVERTED)], False)
