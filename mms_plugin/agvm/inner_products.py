"""Compute inner products of the update directions of two halves."""

from __future__ import annotations

from typing import Callable, Optional, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from .halves_source import Halves
from .unscale_and_clip import GradientTransform
from .update_direction import Preconditioner, UpdateDirection

__all__ = ["inner_products", "module_inner_products"]

# Elements that are converted to float64 at a time. On a CPU the temporary copies stay
# in the cache and add nothing to the peak memory; a GPU needs few, large kernels.
_CHUNK_CPU = 1 << 16
_CHUNK_GPU = 1 << 22


def inner_products(
    first: Tensor,
    other: Tensor,
    preconditioner: Optional[Preconditioner] = None,
    other_is_total: bool = False,
) -> Tensor:
    """Return inner products of two gradients of one parameter, in float64.

    Args:
        first: Gradient of the first half, of any shape, ``N`` elements.
        other: Gradient of the second half, or the sum of both halves' gradients;
            of the same shape.
        preconditioner: Factors that turn a gradient into an update direction. Defaults
            to None: the gradient itself.
        other_is_total: Whether ``other`` is the sum of both halves, so that the
            second half is ``other - first``. Defaults to False.

    Returns:
        Tensor: ``[<a, a>, <a, b>, <b, b>]`` of the update directions ``a`` and ``b``
        of the two halves, float64 (float32 on MPS), on the gradients' device.
    """
    dtype = _dtype(first.device)
    first, other = first.detach().reshape(-1), other.detach().reshape(-1)
    products = torch.zeros(3, dtype=dtype, device=first.device)
    chunk = _CHUNK_CPU if first.device.type == "cpu" else _CHUNK_GPU
    for start in range(0, first.numel(), chunk):
        stop = min(start + chunk, first.numel())
        a, b = first[start:stop].to(dtype), other[start:stop].to(dtype)
        if other_is_total:
            b = b - a
        if preconditioner is not None:
            factors = preconditioner(start, stop).to(dtype)
            a, b = a * factors, b * factors
        products += torch.stack((a.dot(a), a.dot(b), b.dot(b)))
    return products


@torch.no_grad()
def module_inner_products(
    halves: Halves,
    optimizer: Optimizer,
    modules: Sequence[str],
    direction: UpdateDirection,
    gradient_transform: Callable[[], GradientTransform],
) -> Tensor:
    """Return the inner products of two halves, summed over each module.

    Args:
        halves: Gradients of both halves. ``param.grad`` is that of the whole batch.
        optimizer: Its param groups name their module as ``'agvm_module'``.
        modules: Names of the modules.
        direction: Update direction of the optimizer.
        gradient_transform: Called only where the direction depends on the scale of
            the gradients; see :func:`~.unscale_and_clip.unscale_and_clip`.

    Returns:
        Tensor: ``[<a, a>, <a, b>, <b, b>]`` of each module, shape (modules, 3). Zeros
        for a module without gradients.
    """
    device = optimizer.param_groups[0]["params"][0].device
    products = torch.zeros(len(modules), 3, dtype=_dtype(device), device=device)
    if not halves.first:
        return products
    transform = None
    if direction.depends_on_scale:
        transform = gradient_transform()
        direction.prepare(optimizer, transform)
    rows = {name: row for row, name in enumerate(modules)}
    for group in optimizer.param_groups:
        row = rows.get(group["agvm_module"])
        for param in group["params"]:
            first, other = halves.first.get(param), halves.other.get(param)
            if row is None or first is None or other is None or param.grad is None:
                continue
            preconditioner = None
            if transform is not None:
                state = optimizer.state.get(param, {})
                preconditioner = direction.preconditioner(
                    param, group, state, transform
                )
            products[row] += inner_products(
                first, other, preconditioner, halves.other_is_total
            ).to(device)
    return products


def _dtype(device: torch.device) -> torch.dtype:
    # Apple's GPUs have no float64.
    return torch.float32 if device.type == "mps" else torch.float64
