import numpy as np
import pytest
import torch
from agvm_toy import needs_fused
from torch import nn

from mms_plugin.agvm.unscale_and_clip import unscale_and_clip
from mms_plugin.agvm.update_direction import update_direction


def _trained(optimizer_of, steps, seed=0, clip=None):
    """An optimizer with some steps behind it and fresh gradients."""
    torch.manual_seed(seed)
    params = [nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.randn(5))]
    optimizer = optimizer_of(params)
    for _ in range(steps):
        for param in params:
            param.grad = torch.randn_like(param)
        optimizer.step()
    for param in params:
        param.grad = torch.randn_like(param)
    return params, optimizer


def _factors(params, optimizer, transform):
    direction = update_direction(optimizer)
    direction.prepare(optimizer, transform)
    result = []
    for param in params:
        group = optimizer.param_groups[0]
        state = optimizer.state.get(param, {})
        preconditioner = direction.preconditioner(param, group, state, transform)
        whole = preconditioner(0, param.numel())
        parts = [preconditioner(0, 2), preconditioner(2, param.numel())]
        if whole.numel() > 1:
            torch.testing.assert_close(torch.cat(parts), whole)
        result.append(whole)
    return result


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize(
    "optimizer_of",
    [
        lambda p: torch.optim.Adam(p, lr=0.1),
        lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.3),
        lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.3, maximize=True),
        lambda p: torch.optim.Adam(p, lr=0.1, amsgrad=True, betas=(0.9, 0.5)),
        lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.3),
        pytest.param(
            lambda p: torch.optim.AdamW(p, lr=0.1, fused=True), marks=needs_fused
        ),
        lambda p: torch.optim.AdamW(p, lr=0.1, foreach=True),
        lambda p: torch.optim.AdamW(p, lr=torch.tensor(0.1), foreach=False),
    ],
)
@pytest.mark.parametrize(
    "clip", [None, dict(max_norm=0.5), dict(max_norm=0.5, norm_type=1), "value"]
)
def test_adam_divides_by_the_moment_that_the_step_leaves(optimizer_of, steps, clip):
    params, optimizer = _trained(optimizer_of, steps)
    scale = 8.0
    for param in params:
        param.grad *= scale
    if clip == "value":
        transform = unscale_and_clip(optimizer, scale, "value", dict(clip_value=0.3))
    else:
        transform = unscale_and_clip(optimizer, scale, "norm", clip)
    factors = _factors(params, optimizer, transform)
    # What the optimizer then does, by torch's own functions.
    for param in params:
        param.grad /= scale
    if clip == "value":
        nn.utils.clip_grad_value_(params, 0.3)
    elif clip:
        nn.utils.clip_grad_norm_(params, **clip)
    optimizer.step()
    for param, factor in zip(params, factors):
        state = optimizer.state[param]
        moment = state.get("max_exp_avg_sq", state["exp_avg_sq"])
        expected = 1 / (moment.sqrt() + 1e-8)
        torch.testing.assert_close(factor, expected.reshape(-1), rtol=2e-5, atol=0)


@pytest.mark.parametrize("kwargs", [{}, dict(momentum=0.9), dict(nesterov=True)])
def test_sgd_takes_the_gradient_itself(kwargs):
    if kwargs.get("nesterov"):
        kwargs = dict(momentum=0.9, nesterov=True)
    params, optimizer = _trained(lambda p: torch.optim.SGD(p, lr=0.1, **kwargs), 1)
    direction = update_direction(optimizer)
    assert not direction.depends_on_scale
    assert direction.preconditioner(params[0], {}, {}, None) is None


@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        dict(max_grad_norm=0.1),
        dict(weight_decay=0.0),
        dict(trust_clip=True),
        dict(bias_correction=False, grad_averaging=False),
        dict(weight_decay=0.0, always_adapt=True),
    ],
)
def test_lamb_has_the_trust_ratio_of_its_step(kwargs, steps):
    optimizers = pytest.importorskip("mmpretrain.engine.optimizers")
    params, optimizer = _trained(lambda p: optimizers.Lamb(p, lr=0.1, **kwargs), steps)
    factors = _factors(params, optimizer, lambda raw: raw)
    before = [param.detach().clone() for param in params]
    optimizer.step()
    group = optimizer.param_groups[0]
    for param, old, factor in zip(params, before, factors):
        state = optimizer.state[param]
        step = group["step"] if group["bias_correction"] else 10**9
        mean = state["exp_avg"] / (1 - 0.9**step)
        root = (state["exp_avg_sq"] / (1 - 0.999**step)).sqrt() + group["eps"]
        update = mean / root + group["weight_decay"] * old
        # The ratio, read off what the step did to the weights.
        trust = float(((old - param) / 0.1).norm() / update.norm())
        expected = trust / (state["exp_avg_sq"].sqrt() + group["eps"])
        torch.testing.assert_close(
            factor.detach(), expected.detach().reshape(-1), rtol=1e-4, atol=0
        )


@pytest.mark.parametrize("steps", [0, 2])
def test_lars_has_the_local_rate_of_its_step(steps):
    optimizers = pytest.importorskip("mmpretrain.engine.optimizers")
    params, optimizer = _trained(
        lambda p: optimizers.LARS(p, lr=0.1, weight_decay=0.2, eta=0.3), steps
    )
    factors = _factors(params, optimizer, lambda raw: raw)
    before = [(p.detach().clone(), p.grad.clone()) for p in params]
    optimizer.step()
    for param, (old, grad), factor in zip(params, before, factors):
        local = (old - param) / 0.1 / (grad + 0.2 * old)
        np.testing.assert_allclose(float(factor), local.detach(), rtol=1e-3)
    optimizer.param_groups[0]["lars_exclude"] = True
    direction = update_direction(optimizer)
    direction.prepare(optimizer, lambda raw: raw)
    group = optimizer.param_groups[0]
    assert direction.preconditioner(params[0], group, {}, lambda raw: raw) is None


@pytest.mark.parametrize("name", ["RMSprop", "Adagrad", "NAdam", "RAdam", "SparseAdam"])
def test_an_optimizer_without_a_direction_is_refused(name):
    optimizer = getattr(torch.optim, name)([nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match=f"{name} has no update direction.*AdamW"):
        update_direction(optimizer)


def test_a_subclass_has_the_direction_of_its_base():
    class MySGD(torch.optim.SGD):
        pass

    params = [nn.Parameter(torch.ones(2))]
    assert not update_direction(MySGD(params, lr=0.1)).depends_on_scale
