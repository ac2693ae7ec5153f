"""How often AGVM measures, against brute force; and what it says at the start."""

import itertools
import re

import pytest
from agvm_toy import build, logged, make_toy, toy_batch, train_iteration

from mms_plugin.agvm import AGVMConfig
from mms_plugin.agvm.measurements import (
    ENOUGH_SHARE,
    explain_failed_measurement,
    explain_quiet_module,
    explain_without_effect,
    first_measured_iterations,
    moved_share,
    needed_measurements,
)


@pytest.mark.parametrize("counts", [1, 3])
@pytest.mark.parametrize("stop", [None, 0, 20, 37])
def test_the_first_measured_iterations_against_asking_each(counts, stop):
    for interval, start in itertools.product((1, 4, 7), (0, 1, 5, 18, 19, 20)):
        if stop is not None and stop < start:
            continue
        config = AGVMConfig(interval=interval, start_iter=start, stop_iter=stop)
        # The very first update has none before it to be compared with.
        updates = [u for u in range(1, 60) if config.measures(u, counts)]
        expected = None
        if updates and counts == 1:
            expected = (updates[0] - 1, 2)
        elif updates:
            expected = (updates[0] * counts, counts)
        assert first_measured_iterations(config, counts) == expected


def test_how_far_multipliers_move():
    mu, target = 1.0, 3.0
    for _ in range(12):
        mu = 0.9 * mu + 0.1 * target
    assert moved_share(0.9, 12) == pytest.approx((mu - 1) / (target - 1))
    assert pytest.approx(1 - 0.97**20) == ENOUGH_SHARE
    assert needed_measurements(0.97) == 20
    assert needed_measurements(0.0) == needed_measurements(0.5) == 1
    for momentum in (0.6, 0.9, 0.95, 0.99):
        count = needed_measurements(momentum)
        assert moved_share(momentum, count) >= ENOUGH_SHARE
        assert moved_share(momentum, count - 1) < ENOUGH_SHARE


@pytest.mark.parametrize(
    "config, done, total, counts, before, words",
    [
        (dict(), 0, 320, 1, 0, "never measures.*start_iter=600.*320 iterations"),
        (dict(), 0, 600, 1, 0, "never measures.*start_iter to at most 409"),
        (dict(), 0, 601, 1, 0, "only once.*3 % of the way.*momentum=0.97"),
        (dict(), 0, 790, 1, 0, "only 19 times.*44 %.*start_iter to at most 599"),
        (dict(start_iter=500, interval=30), 0, 1000, 1, 0, "interval to at most 26"),
        # Counted in updates: 400 iterations are 100 updates.
        (
            dict(start_iter=395, interval=1),
            0,
            400,
            4,
            0,
            "only once.*100 updates of the weights with accumulative_counts=4",
        ),
        (dict(start_iter=5, stop_iter=5), 0, 900, 1, 0, "never.*stop_iter=5"),
        # Accumulated, the first measurement is at iteration 8, not before 7.
        (dict(start_iter=5, stop_iter=7), 0, 900, 4, 0, "never.*stop_iter to at least"),
        (dict(start_iter=0, interval=9), 0, 50, 1, 0, "only 6.*interval to at most 2"),
        (dict(start_iter=0), 0, 3, 1, 0, "train for more iterations"),
        # A plain training that is resumed with AGVM near its end, or past the stop.
        (dict(), 900, 1000, 1, 0, "only 10 times.*of which 900 are done"),
        (dict(stop_iter=700), 900, 1000, 1, 0, "never measures.*stop_iter=700"),
        (dict(modulate=False), 0, 320, 1, 0, "never measures"),
    ],
)
def test_what_has_no_effect_is_explained(config, done, total, counts, before, words):
    text = explain_without_effect(AGVMConfig(**config), done, total, counts, before)
    assert re.search(words, text), text


def test_a_fit_is_offered_where_it_is_enough():
    offered = "Or set start_iter, interval, momentum to None"
    assert offered in explain_without_effect(AGVMConfig(), 0, 320)
    assert offered in explain_without_effect(AGVMConfig(), 0, 320, 4)
    assert offered not in explain_without_effect(AGVMConfig(), 0, 5)
    assert offered not in explain_without_effect(AGVMConfig(), 317, 320)
    stopped = AGVMConfig(start_iter=5, stop_iter=5)
    assert offered not in explain_without_effect(stopped, 0, 900)


@pytest.mark.parametrize(
    "config, done, total, counts, before",
    [
        (dict(), 0, 791, 1, 0),  # twenty
        (dict(momentum=0.5), 0, 601, 1, 0),  # one that moves half the way
        (dict(modulate=False), 0, 601, 1, 0),  # to be logged only
        (dict(), 900, 1000, 1, 30),  # resumed: most of it was measured before
        (dict(stop_iter=800), 900, 1000, 1, 20),  # resumed after all was measured
        (dict(), 320, 320, 1, 0),  # nothing is left to be trained
        (dict(), 0, 10**9, 4, 0),
    ],
)
def test_what_has_an_effect_is_not_reported(config, done, total, counts, before):
    config = AGVMConfig(**config)
    assert explain_without_effect(config, done, total, counts, before) is None


def test_an_update_that_has_none_before_it_is_not_counted():
    config = AGVMConfig(start_iter=0, interval=1000)
    assert "only once" in explain_without_effect(config, 0, 500)
    text = explain_without_effect(config, 0, 500, compares_updates=True)
    assert "never measures" in text


def test_every_remedy_is_one():
    """Each number that a message names is set by itself, and then is enough."""
    named = 0
    for start, interval, stop, total, counts, momentum in itertools.product(
        (0, 50, 600), (1, 10, 60), (None, 60, 700), (100, 640), (1, 4), (0.9, 0.97)
    ):
        if stop is not None and stop < start:
            continue
        values = dict(
            start_iter=start, interval=interval, stop_iter=stop, momentum=momentum
        )
        text = explain_without_effect(AGVMConfig(**values), 0, total, counts)
        if text is None or "or train for" in text:
            continue
        sets = text.rpartition(". Set ")[2]
        numbers = re.findall(r"(start_iter|interval|stop_iter) to at \w+ (\d+)", sets)
        changes = [{name: int(value)} for name, value in numbers]
        if " and interval" in sets:
            changes = [{name: int(value) for name, value in numbers}]
        assert changes, text
        for change in changes:
            config = AGVMConfig(**{**values, **change})
            assert explain_without_effect(config, 0, total, counts) is None, text
            named += 1
    assert named > 20


def test_a_failed_measurement_is_explained():
    zero, nan = [0.0] * 3, [1.0, float("nan"), 1.0]
    text = explain_failed_measurement(7, dict(backbone=zero))
    assert "in iteration 7: the gradient of backbone is zero in a half" in text
    assert "agvm.anchor names a module that trains" in text
    text = explain_failed_measurement(7, dict(stem=zero, layer1=nan))
    assert "the gradient of stem, layer1 is not finite" in text
    assert "check the loss, lower the learning rate" in text


def test_a_quiet_module_is_explained():
    config = AGVMConfig(start_iter=80)
    for has_gradient, words in (
        (True, "all images give the same update direction.*Check that its loss falls"),
        (False, "it has no gradient.*Check that its weights are not frozen"),
    ):
        text = explain_quiet_module("roi_head.mask_head", 270, has_gradient, config)
        assert (
            "variance of roi_head.mask_head has been below 0.001, or below 1/10 of the "
            "anchor's (backbone; agvm.ratio_range), in the last 20" in text
        )
        assert "in iteration 270" in text and re.search(words, text)
        assert "in the last 20 measurements" in text and "start_iter=80" in text


def _told(wrapper, model, done, total):
    with logged() as messages:
        wrapper.initialize_count_status(model, done, total)
    return [message for message in messages if message.startswith("AGVM")]


@pytest.mark.parametrize("counts", [1, 2])
def test_the_wrapper_warns_once_and_counts_rightly(counts):
    model = make_toy()
    agvm = dict(start_iter=4, interval=2, momentum=0.97)
    wrapper = build(model, agvm=agvm, accumulative_counts=counts)
    (text,) = _told(wrapper, model, 0, 12)
    for seed in range(12):
        train_iteration(model, wrapper, toy_batch(seed))
    count = wrapper.agvm.num_measured
    assert f"only {count} times" in text and count == (4 if counts == 1 else 2)
    # The curriculum's hook counts anew when a training is resumed elsewhere.
    assert _told(wrapper, model, 4, 13) == []


def test_the_wrapper_of_a_resumed_training_counts_what_was_measured():
    config = dict(start_iter=0, interval=1, momentum=0.5)
    model = make_toy()
    wrapper = build(model, agvm=config)
    assert _told(wrapper, model, 0, 5) == []
    for seed in range(5):
        train_iteration(model, wrapper, toy_batch(seed))
    state = wrapper.state_dict()
    for agvm, told in ((config, 0), (dict(config, momentum=0.99), 1)):
        resumed = build(model, agvm=dict(agvm, stop_iter=4))
        resumed.load_state_dict(state)
        assert len(_told(resumed, model, 5, 8)) == told
        assert len(_told(build(model, agvm=agvm), model, 8, 8)) == 0


def test_a_model_with_an_anchor_only():
    model = make_toy()
    for name in ("neck", "rpn_head", "roi_head"):
        getattr(model, name).requires_grad_(False)
    model.scale.requires_grad_(False)
    (text,) = _told(build(model), model, 0, 1000)
    assert "nothing to adjust: besides its anchor 'backbone'" in text
