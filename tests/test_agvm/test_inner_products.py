import numpy as np
import pytest
import torch
from torch import nn

from mms_plugin.agvm import inner_products
from mms_plugin.agvm.halves_source import Halves
from mms_plugin.agvm.inner_products import module_inner_products
from mms_plugin.agvm.update_direction import update_direction


@pytest.mark.parametrize("shape", [(7,), (3, 5, 2), (600, 700), (1,)])
def test_inner_products_of_two_halves(shape):
    torch.manual_seed(0)
    a, b = torch.randn(shape), torch.randn(shape)
    x, y = a.numpy().astype(np.float64).ravel(), b.numpy().astype(np.float64).ravel()
    products = inner_products(a, b)
    assert products.dtype == torch.float64
    np.testing.assert_allclose(products, [x @ x, x @ y, y @ y], rtol=1e-12, atol=1e-7)


def test_inner_products_from_the_sum_and_with_a_preconditioner():
    torch.manual_seed(0)
    # More than one chunk, and a memory layout that is not the logical order.
    a = torch.randn(1, 40, 90, 100).to(memory_format=torch.channels_last)
    b = torch.randn(1, 40, 90, 100)
    w = torch.rand(a.numel(), dtype=torch.float64)
    products = inner_products(
        a.double(),
        (a.double() + b.double()),
        preconditioner=lambda start, stop: w[start:stop],
        other_is_total=True,
    )
    x = a.contiguous().numpy().astype(np.float64).ravel() * w.numpy()
    y = b.numpy().astype(np.float64).ravel() * w.numpy()
    np.testing.assert_allclose(products, [x @ x, x @ y, y @ y], rtol=1e-9)


def _two_modules(optimizer_type, **kwargs):
    """An optimizer over four parameters with gradients, and two halves of them."""
    generator = torch.Generator().manual_seed(0)
    params = [nn.Parameter(torch.randn(3, 2, generator=generator)) for _ in range(4)]
    groups = [
        dict(params=params[:2], agvm_module="backbone"),
        dict(params=params[2:3], agvm_module="neck"),
        dict(params=params[3:], agvm_module="backbone"),
    ]
    first = {p: torch.randn(3, 2, generator=generator) for p in params}
    second = {p: torch.randn(3, 2, generator=generator) for p in params}
    for param in params:
        param.grad = first[param] + second[param]
    return params, optimizer_type(groups, lr=0.1, **kwargs), first, second


def _no_transform():
    raise AssertionError("the direction does not depend on the scale")


def _sums(first, second, params):
    rows = [
        [float((x * y).sum()) for x, y in ((a, a), (a, b), (b, b))]
        for a, b in ((first[p].double(), second[p].double()) for p in params)
    ]
    return np.sum(rows, axis=0)


@pytest.mark.parametrize("total", [False, True])
def test_products_are_summed_over_the_groups_of_a_module(total):
    params, optimizer, first, second = _two_modules(torch.optim.SGD)
    other = {p: p.grad for p in params} if total else second
    products = module_inner_products(
        Halves(first, other, other_is_total=total),
        optimizer,
        ["neck", "backbone", "rest"],
        update_direction(optimizer),
        _no_transform,
    )
    backbone = _sums(first, second, [params[0], params[1], params[3]])
    expected = [_sums(first, second, params[2:3]), backbone, [0.0] * 3]
    np.testing.assert_allclose(products, expected, rtol=1e-5)
    assert products.dtype == torch.float64


def test_products_of_preconditioned_gradients():
    params, optimizer, first, second = _two_modules(torch.optim.AdamW)
    products = module_inner_products(
        Halves(first, second, other_is_total=False),
        optimizer,
        ["backbone", "neck"],
        update_direction(optimizer),
        lambda: lambda grad: grad * 0.5,
    )
    for half in (first, second):  # in the first step, v is 0.001 times the square
        for p in params:
            moment = 0.001 * (0.5 * p.grad.double()) ** 2
            half[p] = half[p].double() / (moment.sqrt() + 1e-8)
    expected = [
        _sums(first, second, [params[0], params[1], params[3]]),
        _sums(first, second, params[2:3]),
    ]
    np.testing.assert_allclose(products, expected, rtol=1e-5)


def test_parameters_without_a_gradient_are_left_out():
    params, optimizer, first, second = _two_modules(torch.optim.SGD)
    del first[params[0]], second[params[1]]
    params[3].grad = None
    arguments = optimizer, ["backbone", "neck"], update_direction(optimizer)
    halves = Halves(first, second, other_is_total=False)
    products = module_inner_products(halves, *arguments, _no_transform)
    assert products[0].tolist() == [0.0] * 3
    np.testing.assert_allclose(
        products[1], _sums(first, second, params[2:3]), rtol=1e-5
    )
    # A rank that leaves the measuring to another.
    nothing = module_inner_products(Halves({}, second), *arguments, _no_transform)
    assert nothing.tolist() == [[0.0] * 3] * 2
