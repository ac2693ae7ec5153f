"""The whole wrapper: bits of plain training, odd gradients, logs and checkpoints."""

import copy
import math

import numpy as np
import pytest
import torch
from agvm_toy import (
    ToyDetector,
    build,
    build_plain,
    gradients_in_float64,
    logged,
    make_toy,
    module_vector,
    toy_batch,
    train,
    train_iteration,
    weights,
)
from mmengine.logging import MessageHub
from torch import nn

SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-3)
ADAMW = dict(type="AdamW", lr=0.01, weight_decay=0.05)


def test_the_first_iteration_of_all_has_none_before_it():
    model = make_toy()
    wrapper = build(model)
    train(model, wrapper, [toy_batch(0)])
    assert wrapper.agvm.num_measured == 0
    assert set(wrapper.agvm.multipliers.values()) == {1.0}


def test_stop_iter_keeps_the_multipliers():
    model = make_toy()
    wrapper = build(model, agvm=dict(stop_iter=3))
    train(model, wrapper, [toy_batch(i) for i in range(3)], total=8)
    before = dict(wrapper.agvm.multipliers)
    assert before["neck"] != 1.0 and wrapper.agvm.num_measured == 2
    for i in range(3, 6):
        train_iteration(model, wrapper, toy_batch(i))
    assert wrapper.agvm.multipliers == before and wrapper.agvm.num_measured == 2


def test_a_loop_that_does_not_tell_its_length_keeps_the_defaults():
    model = make_toy()
    wrapper = build(model, agvm=dict(interval=None, momentum=0.5))
    with logged() as messages:
        for i in range(3):
            train_iteration(model, wrapper, toy_batch(i))
    (warning,) = (text for text in messages if "cannot be fitted" in text)
    assert "interval cannot" in warning and "AGVM uses interval=10" in warning


@pytest.mark.parametrize("agvm", [dict(modulate=False), dict(ratio_range=(1, 1))])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
def test_multipliers_of_1_train_as_plain_bit_for_bit(agvm, optimizer):
    ours, plain = make_toy(), make_toy()
    batches = [toy_batch(i) for i in range(6)]
    clip = dict(clip_grad=dict(max_norm=0.1))
    wrapper = build(ours, optimizer, agvm, **copy.deepcopy(clip))
    train(ours, wrapper, batches)
    train(plain, build_plain(plain, optimizer, **clip), batches)
    for name, weight in weights(plain).items():
        assert torch.equal(weights(ours)[name], weight)
    assert wrapper.agvm.num_measured == 5 and wrapper.agvm.variances["neck"] > 0
    if "modulate" in agvm:
        assert wrapper.agvm.multipliers["neck"] != 1.0


def test_measured_before_clipping_with_the_moments_after_it():
    """SGD does not see the clipping; AdamW divides by clipped moments."""
    for optimizer in (SGD, ADAMW):
        model = make_toy()
        wrapper = build(
            model, optimizer, accumulative_counts=2, clip_grad=dict(max_norm=0.01)
        )
        wrapper.initialize_count_status(model, 0, 6)
        moment = dict.fromkeys(weights(model), 0.0)
        for update in range(3):
            batches = [toy_batch(2 * update), toy_batch(2 * update + 1)]
            one, two = (gradients_in_float64(model, batch) for batch in batches)
            for batch in batches:
                train_iteration(model, wrapper, batch)
            mean = {k: (one[k] + two[k]) / 2 for k in one}
            norm = math.sqrt(sum((g**2).sum() for g in mean.values()))
            assert norm > 0.01
            for k in one:
                clipped = mean[k] * 0.01 / norm
                moment[k] = 0.999 * moment[k] + 0.001 * clipped**2
                if optimizer is ADAMW:
                    one[k] = one[k] / (np.sqrt(moment[k]) + 1e-8)
                    two[k] = two[k] / (np.sqrt(moment[k]) + 1e-8)
            for module, phi in wrapper.agvm.variances.items():
                a, b = module_vector(one, module), module_vector(two, module)
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                assert phi == pytest.approx(1 - cosine, rel=2e-3)


@pytest.mark.parametrize("counts", [1, 2])
def test_a_head_without_gradients_keeps_its_multiplier(counts):
    model = make_toy(mask_head=True)
    wrapper = build(model, ADAMW, accumulative_counts=counts)
    wrapper.initialize_count_status(model, 0, 100)
    history = []
    for iteration in range(10):
        masks = iteration < 4 or iteration >= 8
        train_iteration(model, wrapper, toy_batch(iteration), masks=masks)
        history.append(dict(wrapper.agvm.multipliers))
    name = "roi_head.mask_head"
    assert history[3][name] != 1.0
    assert history[7][name] == history[3][name] != history[9][name]
    assert history[7]["neck"] != history[3]["neck"]
    assert all(np.isfinite(list(h.values())).all() for h in history)


def test_one_warning_about_a_dead_head():
    model = make_toy(mask_head=True)
    model.scale.requires_grad_(False)  # it has next to no variance either
    # At 0.1 the backbone saturates, which has a warning of its own.
    wrapper = build(model, dict(type="SGD", lr=0.01), accumulative_counts=2)
    with logged() as messages:
        batches = [toy_batch(n) for n in range(60)]
        train(model, wrapper, batches[:38], total=100, masks=False)
        assert not messages
        train(model, wrapper, batches[38:], start=38, total=100, masks=False)
    (message,) = messages
    assert "variance of roi_head.mask_head has been below 0.001" in message
    assert "in the last 20 measurements" in message and "start_iter=0" in message


@pytest.mark.parametrize(
    "factor, cause",
    [(0.0, "it has no gradient"), (1.0, "give the same update direction")],
)
def test_each_death_of_a_module_is_reported_once(factor, cause):
    """Factor 0: it gets no gradient. 1: the same one from every image."""
    name, scalar = "roi_head.bbox_head", "train/agvm/quiet/roi_head.bbox_head"
    dead, noise = [True], torch.Generator().manual_seed(0)

    def built():
        model = make_toy()
        model.scale.requires_grad_(False)
        for parameter in model.roi_head.parameters():
            parameter.register_hook(
                lambda grad: (
                    torch.full_like(grad, factor)
                    if dead[0]
                    else 0.01 * torch.randn(grad.shape, generator=noise)
                )
            )
        return model, build(model, dict(type="SGD", lr=0.01), accumulative_counts=2)

    def told(begin, end):
        with logged() as messages:
            batches = [toy_batch(n) for n in range(begin, end)]
            train(model, wrapper, batches, start=begin, total=400)
        return messages

    model, wrapper = built()
    hub = wrapper.message_hub
    assert told(0, 38) == []
    (text,) = told(38, 44)
    assert "in iteration 39" in text and name in text and cause in text
    assert hub.get_scalar(scalar).current() == 1
    state = wrapper.state_dict()
    model, wrapper = built()
    wrapper.load_state_dict(state)
    assert told(44, 50) == []  # the same death
    dead[0] = False
    assert told(50, 52) == []
    assert hub.get_scalar(scalar).current() == 0
    dead[0] = True
    assert told(52, 90) == []
    (text,) = told(90, 100)
    assert "in iteration 91" in text and name in text
    assert hub.get_scalar(scalar).current() == 1


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("part", ["neck", "backbone"])
@pytest.mark.parametrize("optimizer", [dict(type="SGD", lr=0.01), ADAMW])
def test_zero_or_broken_gradients(value, part, optimizer):
    model = make_toy()
    wrapper = build(model, optimizer, agvm=dict(modulate=False))
    train(model, wrapper, [toy_batch(0), toy_batch(1)], total=10)
    before = dict(wrapper.agvm.multipliers)
    handles = [
        p.register_hook(lambda grad: torch.full_like(grad, value))
        for p in getattr(model, part).parameters()
    ]
    train_iteration(model, wrapper, toy_batch(2))
    for handle in handles:
        handle.remove()
    after = dict(wrapper.agvm.multipliers)
    assert np.isfinite(list(after.values())).all()
    if part == "backbone":
        assert after == before
    else:
        assert after["neck"] == before["neck"]
        assert after["rpn_head"] != before["rpn_head"]


def test_parts_frozen_or_unfrozen_later():
    model = make_toy()
    wrapper = build(model)
    train(model, wrapper, [toy_batch(0), toy_batch(1)], total=10)
    model.neck.requires_grad_(False)
    before = wrapper.agvm.multipliers["neck"]
    wrapper.zero_grad()
    for i in range(2, 5):
        train_iteration(model, wrapper, toy_batch(i))
    assert wrapper.agvm.multipliers["neck"] == before
    model.neck.requires_grad_(True)
    for i in range(5, 8):
        train_iteration(model, wrapper, toy_batch(i))
    assert wrapper.agvm.multipliers["neck"] != before


def test_the_logs_have_variances_and_multipliers():
    model = make_toy()
    wrapper = build(model, accumulative_counts=2)
    train(model, wrapper, [toy_batch(i) for i in range(4)])
    scalars = MessageHub.get_current_instance().log_scalars
    for name in wrapper.agvm.modules:
        mu = scalars[f"train/agvm/mu/{name}"].current()
        assert mu == wrapper.agvm.multipliers[name]
        phi = scalars[f"train/agvm/phi/{name}"].current()
        assert phi == wrapper.agvm.variances[name]


@pytest.mark.parametrize(
    "counts, single", [(1, "lookback"), (1, "consecutive"), (2, "lookback")]
)
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
def test_a_resumed_training_equals_the_uninterrupted_one(
    counts, single, optimizer, tmp_path
):
    batches = [toy_batch(i) for i in range(12)]
    whole = make_toy()
    agvm = dict(interval=2, single_process=single)
    settings = dict(agvm=agvm, accumulative_counts=counts)
    train(whole, build(whole, optimizer, **settings), batches)
    for stop in (4, 6, 8):
        part = make_toy()
        wrapper = build(part, optimizer, **settings)
        train(part, wrapper, batches[:stop], total=12)
        path = tmp_path / "checkpoint.pt"
        torch.save((part.state_dict(), wrapper.state_dict()), path)
        model_state, wrapper_state = torch.load(path, weights_only=True)
        resumed = make_toy(seed=1)
        resumed.load_state_dict(model_state)
        wrapper = build(resumed, optimizer, **settings)
        wrapper.load_state_dict(wrapper_state)
        assert wrapper.agvm.num_measured > 0
        train(resumed, wrapper, batches[stop:], start=stop)
        for name, weight in weights(whole).items():
            assert torch.equal(weights(resumed)[name], weight), (stop, name)


def test_a_checkpoint_of_a_plain_optimizer_loads():
    plain = make_toy()
    plain_wrapper = build_plain(plain, ADAMW)
    train(plain, plain_wrapper, [toy_batch(i) for i in range(3)])
    plain_wrapper.optimizer.param_groups[0]["lr"] = 0.005  # a schedule was at work
    ours = make_toy(seed=1)
    ours.load_state_dict(plain.state_dict())
    wrapper = build(ours, ADAMW, dict(start_iter=10**9))  # never measures
    wrapper.agvm.multipliers["neck"] = 2.0
    saved = copy.deepcopy(plain_wrapper.state_dict())
    keys = set(saved)
    with logged() as messages:
        wrapper.load_state_dict(saved)
    assert set(saved) == keys
    assert any("saved without AGVM: all multipliers start" in m for m in messages)
    assert set(wrapper.agvm.multipliers.values()) == {1.0}
    assert {g["agvm_module"] for g in wrapper.optimizer.param_groups} == set(
        wrapper.agvm.modules
    )
    assert set(wrapper.get_lr()["lr"]) == {0.005}
    # Both continue alike while no multiplier has moved.
    train(ours, wrapper, [toy_batch(5)], start=3)
    train(plain, plain_wrapper, [toy_batch(5)], start=3)
    for name, weight in weights(plain).items():
        assert torch.equal(weights(ours)[name], weight)


def test_a_plain_checkpoint_and_its_schedulers():
    """Schedulers of the plain run know one param group only, whatever they compute."""
    from mmengine.optim import CosineAnnealingLR

    plain = make_toy()
    plain_wrapper = build_plain(plain, SGD)
    schedule = CosineAnnealingLR(plain_wrapper, T_max=10, by_epoch=False)
    plain_wrapper.step()
    schedule.step()
    wrapper = build(make_toy(), SGD)
    resumed = CosineAnnealingLR(wrapper, T_max=10, by_epoch=False)
    wrapper.load_state_dict(plain_wrapper.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for _ in range(3):
        resumed.step()
        schedule.step()
        wrapper.step()
    expected = plain_wrapper.get_lr()["lr"][0]
    assert expected < 0.09
    assert wrapper.get_lr()["lr"] == [pytest.approx(expected)] * 5


def test_a_plain_checkpoint_and_a_scheduler_of_the_momentum():
    from mmengine.optim import CosineAnnealingMomentum

    plain = build_plain(make_toy(), SGD)
    schedule = CosineAnnealingMomentum(plain, T_max=4, eta_min=0.5, by_epoch=False)
    plain.step()
    schedule.step()
    wrapper = build(make_toy(), SGD)
    resumed = CosineAnnealingMomentum(wrapper, T_max=4, eta_min=0.5, by_epoch=False)
    wrapper.load_state_dict(plain.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for _ in range(3):
        resumed.step()
        wrapper.step()
    assert wrapper.get_momentum()["momentum"] == [pytest.approx(0.5)] * 5


def test_groups_that_resumed_schedulers_do_not_know_are_told_of():
    def told(saved, wrapper):
        with logged() as messages:
            wrapper.load_state_dict(saved.state_dict())
        return [text for text in messages if "may change the first" in text]

    few = build(make_toy(), SGD, dict(modules=["backbone"]))
    (text,) = told(few, build(make_toy(), SGD))
    groups = len(few.optimizer.param_groups)
    assert f"the checkpoint has {groups} param groups" in text
    assert told(build(make_toy(), SGD), build(make_toy(), SGD)) == []
    # One group of a plain training is no riddle: the others follow it.
    assert told(build_plain(make_toy(), SGD), build(make_toy(), SGD)) == []


def test_a_plain_checkpoint_and_parameters_of_several_settings():
    paramwise_cfg = dict(custom_keys=dict(backbone=dict(lr_mult=0.1)))
    wrapper = build(make_toy(), SGD, paramwise_cfg=paramwise_cfg)
    rates = wrapper.get_lr()["lr"]
    with pytest.raises(ValueError, match="one param group, but initial_lr|but lr is"):
        wrapper.load_state_dict(build_plain(make_toy(), SGD).state_dict())
    assert wrapper.get_lr()["lr"] == rates


def test_measurements_continue_where_nobody_counts_the_iterations():
    """MMEngine counts none for the wrappers in an OptimWrapperDict."""
    batches = [toy_batch(i) for i in range(14)]
    settings = dict(start_iter=4, interval=1)

    def continued(model, wrapper, batches):
        for batch in batches:
            train_iteration(model, wrapper, batch)

    whole = make_toy()
    whole_wrapper = build(whole, SGD, settings)
    continued(whole, whole_wrapper, batches[:10])
    saved = copy.deepcopy((whole.state_dict(), whole_wrapper.state_dict()))
    continued(whole, whole_wrapper, batches[10:])
    resumed = make_toy(seed=1)
    wrapper = build(resumed, SGD, settings)
    resumed.load_state_dict(saved[0])
    wrapper.load_state_dict(saved[1])
    continued(resumed, wrapper, batches[10:])
    assert wrapper.agvm.num_measured == whole_wrapper.agvm.num_measured == 10
    for name, weight in weights(whole).items():
        assert torch.equal(weights(resumed)[name], weight)


def test_a_state_of_another_model():
    wrapper = build(make_toy())
    with pytest.raises(ValueError, match="has 13 parameters, but the optimizer has 11"):
        wrapper.load_state_dict(build(make_toy(mask_head=True)).state_dict())


def test_a_state_with_other_modules():
    model = make_toy()
    wrapper = build(model, agvm=dict(modules=["backbone", "neck"]))
    train(model, wrapper, [toy_batch(i) for i in range(4)])
    other = build(make_toy())
    with logged() as messages:
        other.load_state_dict(wrapper.state_dict())
    assert any("no module rpn_head, roi_head.bbox_head" in m for m in messages)
    assert other.agvm.multipliers["neck"] == wrapper.agvm.multipliers["neck"] != 1
    assert other.agvm.multipliers["rpn_head"] == 1.0
    groups = other.optimizer.param_groups
    assert {g["agvm_module"] for g in groups} == set(other.agvm.modules)


def test_a_single_number_outside_the_modules_stays_at_1():
    model = ToyDetector()
    model.scale = nn.Parameter(torch.tensor(1.0))
    model.forward = lambda batch: dict(
        loss=model.rpn_head(model.neck(model.backbone(batch))).pow(2).mean()
        * model.scale
    )
    with logged() as messages:
        wrapper = build(model)
    assert any("rest has a single trainable number" in m for m in messages)
    train(model, wrapper, [toy_batch(i) for i in range(3)])
    assert wrapper.agvm.multipliers["rest"] == 1.0 != wrapper.agvm.multipliers["neck"]


# ------------------------------------------------------ measurements that fail
@pytest.mark.parametrize("factor, word", [(math.nan, "not finite"), (0.0, "zero")])
def test_a_failed_measurement_is_reported_once(factor, word):
    model = make_toy()
    wrapper = build(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 8)
    hooks = [
        parameter.register_hook(lambda grad: grad * factor)
        for parameter in model.backbone.parameters()
    ]
    with logged() as messages:
        for seed in range(4):
            train_iteration(model, wrapper, toy_batch(seed))
    assert wrapper.agvm.num_measured == 0
    told = [text for text in messages if text.startswith("AGVM: no measurement")]
    assert len(told) == 1
    assert f"in iteration 1: the gradient of backbone is {word} in a half" in told[0]
    for hook in hooks:
        hook.remove()
    if word == "zero":  # it continues once there is something to measure
        for seed in range(4, 8):
            train_iteration(model, wrapper, toy_batch(seed))
        assert wrapper.agvm.num_measured == 2
