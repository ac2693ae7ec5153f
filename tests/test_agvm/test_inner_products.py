import numpy as np
import pytest
import torch

from mms_plugin.agvm import inner_products


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
