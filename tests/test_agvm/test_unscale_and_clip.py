"""What a step does to gradients, against torch's own clipping."""

import pytest
import torch
from torch import nn

from mms_plugin.agvm.unscale_and_clip import unscale_and_clip

SCALE = 8.0


def _optimizer():
    generator = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.zeros(n, 3)) for n in (4, 1, 2)]
    for param in params[:2]:  # the last has no gradient
        param.grad = SCALE * torch.randn(param.shape, generator=generator)
    return params[:2], torch.optim.SGD(
        [dict(params=params[:1]), *map(_group, params[1:])], lr=0.1
    )


def _group(param):
    return dict(params=[param])


@pytest.mark.parametrize(
    "clip_type, kwargs",
    [
        ("norm", None),
        ("norm", dict(max_norm=0.5)),
        ("norm", dict(max_norm=100.0)),
        ("norm", dict(max_norm=0.5, norm_type=1)),
        ("norm", dict(max_norm=0.5, norm_type="inf")),
        ("value", dict(clip_value=0.3)),
    ],
)
def test_it_agrees_with_torch(clip_type, kwargs):
    params, optimizer = _optimizer()
    transform = unscale_and_clip(optimizer, SCALE, clip_type, kwargs)
    before = [param.grad.clone() for param in params]
    results = [transform(param.grad) for param in params]
    assert all(torch.equal(p.grad, old) for p, old in zip(params, before))
    for param in params:
        param.grad /= SCALE
    if clip_type == "value":
        nn.utils.clip_grad_value_(params, **kwargs)
    elif kwargs:
        nn.utils.clip_grad_norm_(params, **kwargs)
    for param, result in zip(params, results):
        torch.testing.assert_close(result, param.grad)


def test_a_part_of_a_gradient_is_clipped_by_the_norm_of_all():
    params, optimizer = _optimizer()
    transform = unscale_and_clip(optimizer, SCALE, "norm", dict(max_norm=0.5))
    part, whole = transform(params[0].grad[:1]), transform(params[0].grad)
    assert torch.equal(part, whole[:1])
