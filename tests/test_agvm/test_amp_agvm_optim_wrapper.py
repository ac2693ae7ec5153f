"""AGVM with loss scaling, on the CPU."""

import copy
import math

import pytest
import torch
from agvm_toy import (
    build,
    logged,
    make_toy,
    toy_batch,
    train,
    train_iteration,
    weights,
)

SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-3)
ADAMW = dict(type="AdamW", lr=0.01, weight_decay=0.05)


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
        train(model, wrapper, batches)
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
    train(model, wrapper, [toy_batch(0), toy_batch(1)], total=10)
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


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["SGD", "AdamW"])
@pytest.mark.parametrize("clip", [None, dict(max_norm=0.05)])
def test_an_overflow_that_the_part_of_the_batch_has_not(monkeypatch, optimizer, clip):
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("torch.amp.GradScaler for the CPU came with torch 2.3")
    _CPUAmp(monkeypatch)
    model = make_toy()
    wrapper = build(
        model,
        optimizer,
        type="AmpAGVMOptimWrapper",
        dtype="bfloat16",
        loss_scale=dict(init_scale=64.0, growth_interval=1000),
        clip_grad=copy.copy(clip),
    )
    train(model, wrapper, [toy_batch(i) for i in range(3)], total=10)
    before, old = dict(wrapper.agvm.multipliers), weights(model)
    num_measured, passes = wrapper.agvm.num_measured, []

    def overflow_once(gradient):
        passes.append(gradient)
        return torch.full_like(gradient, math.inf) if len(passes) == 1 else gradient

    handle = model.neck.weight.register_hook(overflow_once)
    train_iteration(model, wrapper, toy_batch(3))
    handle.remove()
    assert len(passes) == 2  # the batch, and a part of it once more
    assert all(torch.equal(weights(model)[k], w) for k, w in old.items())
    assert wrapper.agvm.multipliers == before
    assert wrapper.agvm.num_measured == num_measured > 0


def test_a_death_is_reported_once(monkeypatch):
    if not hasattr(torch.amp, "GradScaler"):
        pytest.skip("torch.amp.GradScaler for the CPU came with torch 2.3")
    _CPUAmp(monkeypatch)
    model = make_toy(mask_head=True)
    model.scale.requires_grad_(False)
    wrapper = build(
        model,
        dict(type="SGD", lr=0.01),
        type="AmpAGVMOptimWrapper",
        dtype="bfloat16",
        loss_scale=dict(init_scale=64.0),
        accumulative_counts=2,
    )
    with logged() as messages:
        train(model, wrapper, [toy_batch(n) for n in range(46)], masks=False)
    (text,) = messages
    assert "in iteration 39" in text and "roi_head.mask_head" in text


def test_amp_over_fsdp_is_refused():
    with pytest.raises(ValueError, match="whole gradients, which FSDP shards"):
        build(make_toy(), type="AmpAGVMOptimWrapper", use_fsdp=True)
