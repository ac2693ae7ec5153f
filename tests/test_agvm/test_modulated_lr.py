"""Learning rates that are scaled during a step only."""

import pytest
import torch
from agvm_toy import (
    build,
    build_plain,
    hold_multipliers,
    make_toy,
    needs_fused,
    toy_batch,
    train,
    train_iteration,
    weights,
)

from mms_plugin.agvm.modulated_lr import modulated_lr

SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-3)
NESTEROV = dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True)
ADAMW = dict(type="AdamW", lr=0.01, weight_decay=0.05)

MU = dict(neck=2.0, bbox_head=0.25, rest=3.0)
NOT_MEASURED = dict(start_iter=10**9)


def _paramwise_twin(model, optimizer):
    """Plain training with the same factors on the learning rates."""
    keys = {"neck": 2.0, "roi_head.bbox_head": 0.25, "scale": 3.0}
    return build_plain(
        model,
        optimizer,
        paramwise_cfg=dict(custom_keys={k: dict(lr_mult=v) for k, v in keys.items()}),
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD,
        NESTEROV,
        ADAMW,
        pytest.param(dict(ADAMW, fused=True), marks=needs_fused),
        dict(ADAMW, foreach=True),
        dict(ADAMW, foreach=False),
        dict(type="Adam", lr=0.01, weight_decay=0.1, amsgrad=True),
        dict(SGD, foreach=True),
        pytest.param(dict(SGD, fused=True), marks=needs_fused),
        dict(type="mmpretrain.Lamb", lr=0.01),
    ],
    ids=lambda o: "-".join(map(str, o.values())),
)
def test_the_multiplier_acts_like_the_rate_of_its_module(optimizer):
    if optimizer["type"].startswith("mmpretrain"):
        pytest.importorskip("mmpretrain.engine")
    ours, plain = make_toy(), make_toy()
    batches = [toy_batch(i) for i in range(4)]
    train(ours, hold_multipliers(build(ours, optimizer, NOT_MEASURED), **MU), batches)
    train(plain, _paramwise_twin(plain, optimizer), batches)
    for name, weight in weights(plain).items():
        torch.testing.assert_close(weights(ours)[name], weight, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("nesterov", [False, True])
def test_with_lars_the_whole_update_is_scaled(nesterov):
    pytest.importorskip("mmpretrain.engine")
    optimizer = dict(type="mmpretrain.LARS", lr=0.1, momentum=0.9, nesterov=nesterov)
    model, plain = make_toy(), make_toy()
    wrapper = build(model, optimizer, NOT_MEASURED)
    plain_wrapper = build_plain(plain, optimizer)
    train(model, wrapper, [toy_batch(0)], total=9)
    train(plain, plain_wrapper, [toy_batch(0)], total=9)
    hold_multipliers(wrapper, **MU)  # with momentum in the buffers
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
    wrapper = hold_multipliers(build(model, optimizer, NOT_MEASURED), **MU)
    seen = []
    step = wrapper.optimizer.step

    def spy(*args, **kwargs):
        seen.append(
            {g["agvm_module"]: float(g["lr"]) for g in wrapper.optimizer.param_groups}
        )
        return step(*args, **kwargs)

    wrapper.optimizer.step = spy
    rates = [group["lr"] for group in wrapper.param_groups]
    train(model, wrapper, [toy_batch(0), toy_batch(1)])
    expected = {m: 0.1 * MU.get(m.split(".")[-1], 1.0) for m in wrapper.agvm.modules}
    assert seen == [pytest.approx(expected)] * 2
    after = [group["lr"] for group in wrapper.param_groups]
    assert all(one is two for one, two in zip(rates, after))
    assert all(float(rate) == pytest.approx(0.1) for rate in after)
    assert all(float(rate) == pytest.approx(0.1) for rate in wrapper.get_lr()["lr"])


def test_a_failing_step_puts_the_rates_back():
    model = make_toy()
    wrapper = hold_multipliers(build(model, agvm=NOT_MEASURED), **MU)

    def fail():
        raise RuntimeError("no step")

    wrapper.optimizer.step = fail
    with pytest.raises(RuntimeError, match="no step"):
        train(model, wrapper, [toy_batch(0)])
    assert set(wrapper.get_lr()["lr"]) == {0.1}


def _sgd_of_two_modules(momentum):
    one, two, three = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    return torch.optim.SGD(
        [
            dict(params=[one, two], lr=0.5, agvm_module="neck"),
            dict(params=[three], lr=2.0, agvm_module="backbone"),
        ],
        lr=1.0,
        momentum=momentum,
    )


def test_learning_rates_are_scaled_within_the_context_only():
    optimizer = _sgd_of_two_modules(0.0)
    multipliers = dict(neck=3.0, backbone=1.0)
    with modulated_lr(optimizer, multipliers.__getitem__):
        assert [group["lr"] for group in optimizer.param_groups] == [1.5, 2.0]
        multipliers["neck"] = 7.0  # what is put back does not depend on it
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 2.0]
    with pytest.raises(KeyError, match="within"), modulated_lr(optimizer, lambda _: 2):
        raise KeyError("within")
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 2.0]


@pytest.mark.parametrize("included", [False, True])
def test_momentum_buffers_that_contain_the_learning_rate(included):
    optimizer = _sgd_of_two_modules(0.9)
    one, two = optimizer.param_groups[0]["params"]
    (three,) = optimizer.param_groups[1]["params"]
    for param in (one, three):
        optimizer.state[param]["momentum_buffer"] = torch.full((2,), 8.0)
    factors = dict(neck=0.25, backbone=1.0)
    with modulated_lr(optimizer, factors.__getitem__, included):
        within = optimizer.state[one]["momentum_buffer"].tolist()
        assert within == ([2.0, 2.0] if included else [8.0, 8.0])
        assert optimizer.state[three]["momentum_buffer"].tolist() == [8.0, 8.0]
        # As a first step does.
        optimizer.state[two]["momentum_buffer"] = torch.ones(2)
    after = {p: optimizer.state[p]["momentum_buffer"].tolist() for p in (one, two)}
    assert after == {one: [8.0, 8.0], two: [4.0, 4.0] if included else [1.0, 1.0]}
    assert optimizer.state[three]["momentum_buffer"].tolist() == [8.0, 8.0]
