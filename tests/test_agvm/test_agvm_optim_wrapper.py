import copy
import math

import numpy as np
import pytest
import torch
from agvm_toy import (
    TOY_MODULES,
    ToyDetector,
    build,
    build_plain,
    logged,
    make_toy,
    toy_batch,
    train_iteration,
    weights,
)
from mmengine.logging import MessageHub
from numpy_agvm import NumpyAGVM
from torch import nn

SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-3)
NESTEROV = dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True)
ADAMW = dict(type="AdamW", lr=0.01, weight_decay=0.05)


def _gradients(model, batch, **kwargs):
    """Of one batch, by a copy of the model in float64."""
    twin = copy.deepcopy(model).double()
    twin.zero_grad()
    losses = twin(batch.double(), **kwargs)
    twin.parse_losses(losses)[0].backward()
    return {
        k: np.zeros(p.shape) if p.grad is None else p.grad.numpy()
        for k, p in twin.named_parameters()
    }


def _train(model, wrapper, batches, start=0, total=None, **kwargs):
    total = start + len(batches) if total is None else total
    wrapper.initialize_count_status(model, start, total)
    for batch in batches:
        train_iteration(model, wrapper, batch, **kwargs)


# ------------------------------------------------------------ halves by accumulation
@pytest.mark.parametrize("optimizer", [SGD, NESTEROV, ADAMW], ids=["SGD", "N", "AdamW"])
@pytest.mark.parametrize("counts", [2, 3, 4])
def test_micro_batches_agree_with_numpy(optimizer, counts):
    model = make_toy()
    reference = NumpyAGVM(
        weights(model), TOY_MODULES, optimizer, interval=2, momentum=0.5
    )
    wrapper = build(model, optimizer, dict(interval=2), accumulative_counts=counts)
    updates = 5
    wrapper.initialize_count_status(model, 0, updates * counts)
    for update in range(updates):
        batches = [toy_batch(update * counts + i) for i in range(counts)]
        grads = [_gradients(model, batch) for batch in batches]
        middle = (counts + 1) // 2
        reference.step(grads[:middle], grads[middle:])
        for batch in batches:
            train_iteration(model, wrapper, batch)
        assert wrapper.agvm.multipliers == pytest.approx(reference.mu, rel=1e-3)
        assert wrapper.agvm.variances == pytest.approx(reference.phi, rel=1e-3)
    for name, weight in weights(model).items():
        np.testing.assert_allclose(
            weight, reference.weights[name], rtol=1e-3, atol=1e-5
        )
    assert wrapper.agvm.num_measured == 3


def test_the_last_update_may_have_fewer_micro_batches():
    model = make_toy()
    wrapper = build(model, accumulative_counts=4)
    _train(model, wrapper, [toy_batch(i) for i in range(4 + 3)])
    assert wrapper.agvm.num_measured == 2
    model = make_toy()
    wrapper = build(model, accumulative_counts=4)
    _train(model, wrapper, [toy_batch(i) for i in range(4 + 1)])
    assert wrapper.agvm.num_measured == 1  # a single micro-batch has no halves


def test_a_training_resumed_within_an_update_measures_at_the_next_whole_one():
    model = make_toy()
    wrapper = build(model, accumulative_counts=4)
    _train(model, wrapper, [toy_batch(i) for i in range(6)], start=2, total=100)
    assert wrapper.agvm.num_measured == 1


# --------------------------------------------------- halves by consecutive iterations
def test_consecutive_iterations_agree_with_numpy():
    model = make_toy()
    settings = dict(interval=3, start_iter=2, single_process="consecutive")
    wrapper = build(model, SGD, settings)
    wrapper.initialize_count_status(model, 0, 9)
    mu, phi, previous = dict.fromkeys(wrapper.agvm.modules, 1.0), {}, None
    for iteration in range(9):
        batch = toy_batch(iteration)
        grad = _gradients(model, batch)
        train_iteration(model, wrapper, batch)
        if iteration in (2, 5, 8):
            for module in mu:
                names = [
                    k
                    for k in grad
                    if k.startswith(module + ".") or (module, k) == ("rest", "scale")
                ]
                a = np.concatenate([previous[k].ravel() for k in names])
                b = np.concatenate([grad[k].ravel() for k in names])
                whole = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                phi[module] = 2 * whole / (1 + whole)
            for module in mu:
                if module != "backbone":
                    ratio = (phi["backbone"] + 1e-6) / (phi[module] + 1e-6)
                    new = math.sqrt(min(10, max(0.5, ratio)))
                    mu[module] = 0.5 * mu[module] + 0.5 * new
        previous = grad
        assert wrapper.agvm.multipliers == pytest.approx(mu, rel=1e-3)
    assert wrapper.agvm.variances == pytest.approx(phi, rel=1e-3)
    assert wrapper.agvm.num_measured == 3


def test_the_first_iteration_of_all_has_none_before_it():
    model = make_toy()
    wrapper = build(model)
    _train(model, wrapper, [toy_batch(0)])
    assert wrapper.agvm.num_measured == 0
    assert set(wrapper.agvm.multipliers.values()) == {1.0}


def test_stop_iter_keeps_the_multipliers():
    model = make_toy()
    wrapper = build(model, agvm=dict(stop_iter=3))
    _train(model, wrapper, [toy_batch(i) for i in range(3)], total=8)
    before = dict(wrapper.agvm.multipliers)
    assert before["neck"] != 1.0 and wrapper.agvm.num_measured == 2
    for i in range(3, 6):
        train_iteration(model, wrapper, toy_batch(i))
    assert wrapper.agvm.multipliers == before and wrapper.agvm.num_measured == 2


# ---------------------------------------------------------------------- in the step
def _fixed(wrapper, **multipliers):
    """Multipliers held at given values."""
    wrapper.agvm.config.__dict__["start_iter"] = 10**9
    for name in wrapper.agvm.modules:
        wrapper.agvm.multipliers[name] = multipliers.get(name.split(".")[-1], 1.0)
    return wrapper


MU = dict(neck=2.0, bbox_head=0.25, rest=3.0)


def _paramwise_twin(model, optimizer, **kwargs):
    """Plain training with the same factors on the rates."""
    keys = {"neck": 2.0, "roi_head.bbox_head": 0.25, "scale": 3.0}
    return build_plain(
        model,
        optimizer,
        paramwise_cfg=dict(custom_keys={k: dict(lr_mult=v) for k, v in keys.items()}),
        **kwargs,
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD,
        NESTEROV,
        ADAMW,
        dict(ADAMW, fused=True),
        dict(ADAMW, foreach=True),
        dict(ADAMW, foreach=False),
        dict(type="Adam", lr=0.01, weight_decay=0.1, amsgrad=True),
        dict(SGD, foreach=True),
        dict(SGD, fused=True),
        dict(type="mmpretrain.Lamb", lr=0.01),
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_the_multiplier_acts_like_the_rate_of_its_module(optimizer):
    if optimizer["type"].startswith("mmpretrain"):
        pytest.importorskip("mmpretrain.engine")
    ours, plain = make_toy(), make_toy()
    batches = [toy_batch(i) for i in range(4)]
    _train(ours, _fixed(build(ours, optimizer), **MU), batches)
    _train(plain, _paramwise_twin(plain, optimizer), batches)
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weights(ours)[name], weight, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("nesterov", [False, True])
def test_with_lars_the_whole_update_is_scaled(nesterov):
    pytest.importorskip("mmpretrain.engine")
    optimizer = dict(type="mmpretrain.LARS", lr=0.1, momentum=0.9, nesterov=nesterov)
    model, plain = make_toy(), make_toy()
    wrapper, plain_wrapper = build(model, optimizer), build_plain(plain, optimizer)
    _fixed(wrapper)
    _train(model, wrapper, [toy_batch(0)], total=9)
    _train(plain, plain_wrapper, [toy_batch(0)], total=9)
    _fixed(wrapper, **MU)  # the multipliers change with momentum in the buffers
    before = weights(model)
    train_iteration(model, wrapper, toy_batch(1))
    train_iteration(plain, plain_wrapper, toy_batch(1))
    factors = {"neck": 2.0, "roi_head.bbox_head": 0.25, "scale": 3.0}
    for name, weight in weights(plain).items():
        factor = next((v for k, v in factors.items() if name.startswith(k)), 1.0)
        expected = before[name] + factor * (weight - before[name])
        torch.testing.assert_close(weights(model)[name], expected, rtol=1e-5, atol=1e-7)
    for (_, one), (_, two) in zip(
        wrapper.optimizer.state.items(), plain_wrapper.optimizer.state.items()
    ):
        torch.testing.assert_close(one["momentum_buffer"], two["momentum_buffer"])


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)], ids=["float", "tensor"])
def test_schedulers_and_get_lr_see_unscaled_rates(lr):
    model = make_toy()
    optimizer = dict(type="AdamW", lr=lr, foreach=False)
    wrapper = _fixed(build(model, optimizer), **MU)
    seen = []
    step = wrapper.optimizer.step

    def spy(*args, **kwargs):
        seen.append(
            {g["agvm_module"]: float(g["lr"]) for g in wrapper.optimizer.param_groups}
        )
        return step(*args, **kwargs)

    wrapper.optimizer.step = spy
    rates = [group["lr"] for group in wrapper.param_groups]
    _train(model, wrapper, [toy_batch(0), toy_batch(1)])
    expected = {m: 0.1 * MU.get(m.split(".")[-1], 1.0) for m in wrapper.agvm.modules}
    assert seen == [pytest.approx(expected)] * 2
    after = [group["lr"] for group in wrapper.param_groups]
    assert all(one is two for one, two in zip(rates, after))
    assert all(float(rate) == pytest.approx(0.1) for rate in after)
    assert all(float(rate) == pytest.approx(0.1) for rate in wrapper.get_lr()["lr"])


def test_a_failing_step_puts_the_rates_back():
    model = make_toy()
    wrapper = _fixed(build(model), **MU)

    def fail():
        raise RuntimeError("no step")

    wrapper.optimizer.step = fail
    with pytest.raises(RuntimeError, match="no step"):
        _train(model, wrapper, [toy_batch(0)])
    assert set(wrapper.get_lr()["lr"]) == {0.1}


@pytest.mark.parametrize("agvm", [dict(modulate=False), dict(ratio_range=(1, 1))])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
def test_multipliers_of_1_train_as_plain_bit_for_bit(agvm, optimizer):
    ours, plain = make_toy(), make_toy()
    batches = [toy_batch(i) for i in range(6)]
    clip = dict(clip_grad=dict(max_norm=0.1))
    wrapper = build(ours, optimizer, agvm, **copy.deepcopy(clip))
    _train(ours, wrapper, batches)
    _train(plain, build_plain(plain, optimizer, **clip), batches)
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
            one, two = (_gradients(model, batch) for batch in batches)
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
                names = [
                    k
                    for k in one
                    if k.startswith(module + ".") or (module, k) == ("rest", "scale")
                ]
                a = np.concatenate([one[k].ravel() for k in names])
                b = np.concatenate([two[k].ravel() for k in names])
                cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                assert phi == pytest.approx(1 - cosine, rel=2e-3)


# ----------------------------------------------------------------------- robustness
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


def test_one_warning_of_a_head_that_is_dead():
    model = make_toy(mask_head=True)
    wrapper = build(model, accumulative_counts=2)
    with logged() as messages:
        batches = [toy_batch(n) for n in range(60)]
        _train(model, wrapper, batches[:38], total=100, masks=False)
        assert not messages
        _train(model, wrapper, batches[38:], start=38, total=100, masks=False)
    (message,) = messages
    assert "variance of roi_head.mask_head has been below 0.001" in message
    assert "in the last 20 measurements" in message and "start_iter=0" in message


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("part", ["neck", "backbone"])
@pytest.mark.parametrize("optimizer", [dict(type="SGD", lr=0.01), ADAMW])
def test_zero_or_broken_gradients(value, part, optimizer):
    model = make_toy()
    wrapper = build(model, optimizer, agvm=dict(modulate=False))
    _train(model, wrapper, [toy_batch(0), toy_batch(1)], total=10)
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


def test_parts_frozen_or_thawed_later():
    model = make_toy()
    wrapper = build(model)
    _train(model, wrapper, [toy_batch(0), toy_batch(1)], total=10)
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


# ----------------------------------------------------------------------------- logs
def test_the_logs_have_variances_and_multipliers():
    model = make_toy()
    wrapper = build(model, accumulative_counts=2)
    _train(model, wrapper, [toy_batch(i) for i in range(4)])
    scalars = MessageHub.get_current_instance().log_scalars
    for name in wrapper.agvm.modules:
        mu = scalars[f"train/agvm/mu/{name}"].current()
        assert mu == wrapper.agvm.multipliers[name]
        phi = scalars[f"train/agvm/phi/{name}"].current()
        assert phi == wrapper.agvm.variances[name]


# ---------------------------------------------------------------------------- state
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
    _train(whole, build(whole, optimizer, **settings), batches)
    for stop in (4, 6, 8):
        part = make_toy()
        wrapper = build(part, optimizer, **settings)
        _train(part, wrapper, batches[:stop], total=12)
        path = tmp_path / "checkpoint.pt"
        torch.save((part.state_dict(), wrapper.state_dict()), path)
        model_state, wrapper_state = torch.load(path, weights_only=True)
        resumed = make_toy(seed=1)
        resumed.load_state_dict(model_state)
        wrapper = build(resumed, optimizer, **settings)
        wrapper.load_state_dict(wrapper_state)
        assert wrapper.agvm.num_measured > 0
        _train(resumed, wrapper, batches[stop:], start=stop)
        for name, weight in weights(whole).items():
            assert torch.equal(weights(resumed)[name], weight), (stop, name)


def test_a_checkpoint_of_a_plain_optimizer_loads():
    plain = make_toy()
    plain_wrapper = build_plain(plain, ADAMW)
    _train(plain, plain_wrapper, [toy_batch(i) for i in range(3)])
    plain_wrapper.optimizer.param_groups[0]["lr"] = 0.005  # a schedule was at work
    ours = make_toy(seed=1)
    ours.load_state_dict(plain.state_dict())
    wrapper = build(ours, ADAMW)
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
    # Both go on alike while no multiplier has moved.
    wrapper.agvm.config.__dict__["start_iter"] = 10**9
    _train(ours, wrapper, [toy_batch(5)], start=3)
    _train(plain, plain_wrapper, [toy_batch(5)], start=3)
    for name, weight in weights(plain).items():
        assert torch.equal(weights(ours)[name], weight)


def test_a_plain_checkpoint_and_its_schedulers():
    """Schedulers of the plain run know one group alone, whatever they compute."""
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


def test_a_state_of_another_model():
    wrapper = build(make_toy())
    with pytest.raises(ValueError, match="has 13 parameters, but the optimizer has 11"):
        wrapper.load_state_dict(build(make_toy(mask_head=True)).state_dict())


def test_a_state_with_other_modules():
    model = make_toy()
    wrapper = build(model, agvm=dict(modules=["backbone", "neck"]))
    _train(model, wrapper, [toy_batch(i) for i in range(4)])
    other = build(make_toy())
    with logged() as messages:
        other.load_state_dict(wrapper.state_dict())
    assert any("no module rpn_head, roi_head.bbox_head" in m for m in messages)
    assert other.agvm.multipliers["neck"] == wrapper.agvm.multipliers["neck"] != 1
    assert other.agvm.multipliers["rpn_head"] == 1.0
    groups = other.optimizer.param_groups
    assert {g["agvm_module"] for g in groups} == set(other.agvm.modules)


# -------------------------------------------------------------------------- precision
def test_bfloat16():
    model = make_toy()
    wrapper = build(model, type="BFloat16AGVMOptimWrapper")
    seen = []
    model.neck.register_forward_hook(lambda *a: seen.append(a[-1].dtype))
    _train(model, wrapper, [toy_batch(i) for i in range(4)])
    assert set(seen) == {torch.bfloat16}
    assert wrapper.agvm.num_measured == 3
    assert wrapper.agvm.multipliers["neck"] != 1.0


class _CPUAmp:
    """Makes ``AmpOptimWrapper`` run where there is no accelerator: the loss scaling
    is torch's own, on the CPU."""

    def __new__(cls, monkeypatch, **scaler):
        from mmengine.optim.optimizer import amp_optimizer_wrapper as module

        from mms_plugin.agvm import AmpAGVMOptimWrapper

        monkeypatch.setattr(module, "is_cuda_available", lambda: True)
        monkeypatch.setattr(
            module, "GradScaler", lambda **kw: torch.amp.GradScaler("cpu", **kw)
        )
        return AmpAGVMOptimWrapper


@pytest.mark.parametrize("clip", [None, dict(max_norm=0.05)])
@pytest.mark.parametrize("counts", [1, 2])
def test_loss_scaling_changes_nothing_measured(monkeypatch, clip, counts):
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("torch.amp.GradScaler for the CPU came with torch 2.3")
    _CPUAmp(monkeypatch)
    batches = [toy_batch(i) for i in range(6)]
    runs = []
    for kwargs in (
        dict(type="BFloat16AGVMOptimWrapper"),
        dict(
            type="AmpAGVMOptimWrapper",
            dtype="bfloat16",
            loss_scale=dict(init_scale=1024.0, growth_interval=2),
        ),
    ):
        model = make_toy()
        wrapper = build(
            model,
            ADAMW,
            accumulative_counts=counts,
            clip_grad=copy.copy(clip),
            **kwargs,
        )
        _train(model, wrapper, batches)
        runs.append((wrapper.agvm, weights(model)))
    assert runs[1][0].multipliers == pytest.approx(runs[0][0].multipliers, rel=1e-4)
    assert runs[1][0].num_measured == (5 if counts == 1 else 3)
    for name, weight in runs[0][1].items():
        torch.testing.assert_close(runs[1][1][name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("counts, scale", [(2, 32.0), (1, 16.0)])
def test_an_overflow_drops_the_measurement_and_the_scaler_resumes(
    monkeypatch, counts, scale
):
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("torch.amp.GradScaler for the CPU came with torch 2.3")
    _CPUAmp(monkeypatch)
    kwargs = dict(
        type="AmpAGVMOptimWrapper",
        dtype="bfloat16",
        loss_scale=dict(init_scale=64.0, growth_interval=1000),
        accumulative_counts=counts,
    )
    model = make_toy()
    wrapper = build(model, SGD, **kwargs)
    _train(model, wrapper, [toy_batch(0), toy_batch(1)], total=10)
    before, old = dict(wrapper.agvm.multipliers), weights(model)
    handle = model.neck.weight.register_hook(lambda g: torch.full_like(g, math.inf))
    for i in (2, 3):
        train_iteration(model, wrapper, toy_batch(i))
    handle.remove()
    assert wrapper.agvm.multipliers == before and wrapper.agvm.num_measured == 1
    assert all(torch.equal(weights(model)[k], w) for k, w in old.items())
    assert wrapper.loss_scaler.get_scale() == scale
    other = build(make_toy(), SGD, **kwargs)
    other.load_state_dict(wrapper.state_dict())
    assert other.loss_scaler.get_scale() == scale
    assert other.agvm.multipliers == before


def test_amp_over_fsdp_is_refused():
    with pytest.raises(ValueError, match="whole gradients, which FSDP shards"):
        build(make_toy(), type="AmpAGVMOptimWrapper", use_fsdp=True)


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
    _train(model, wrapper, [toy_batch(i) for i in range(3)])
    assert wrapper.agvm.multipliers["rest"] == 1.0 != wrapper.agvm.multipliers["neck"]


# ------------------------------------------------------ measurements that fail
@pytest.mark.parametrize("factor, word", [(math.nan, "not finite"), (0.0, "zero")])
def test_a_measurement_that_fails_is_told_once(factor, word):
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
    if word == "zero":  # it goes on once there is something to measure
        for seed in range(4, 8):
            train_iteration(model, wrapper, toy_batch(seed))
        assert wrapper.agvm.num_measured == 2
