"""The arithmetic of AGVM on tensors and floats, free of any training framework.

Source: arXiv 2210.11078, "Large-batch Optimization for Dense Visual Predictions"
(NeurIPS 2022), section 3.
"""

from __future__ import annotations

import math
from typing import Callable, Optional, Sequence, Tuple

import torch
from torch import Tensor

__all__ = [
    "EPS",
    "gradient_variance",
    "half_batch_variance",
    "inner_products",
    "smoothed_multiplier",
    "target_multiplier",
]

EPS = 1e-6
"""Added to both variances before their ratio is taken (section 3.2)."""

# Elements that are widened to float64 at a time. On a CPU the temporary copies stay
# in the cache and add nothing to the peak memory; a GPU wants few, large kernels.
_CHUNK_CPU = 1 << 16
_CHUNK_GPU = 1 << 22

Weight = Callable[[int, int], Tensor]


def inner_products(
    first: Tensor,
    other: Tensor,
    weight: Optional[Weight] = None,
    other_is_total: bool = False,
) -> Tensor:
    """Inner products of two gradients of one parameter, in float64.

    Args:
        first: Gradient of the first half, of any shape, ``N`` elements.
        other: Gradient of the second half, or the sum of both halves' gradients;
            of the same shape.
        weight: ``weight(start, stop)`` gives the factor of elements ``start`` to
            ``stop`` of the flattened gradient, by which an optimizer turns a
            gradient into an update direction. Defaults to None: the gradient itself.
        other_is_total: Whether ``other`` is the sum of both halves, so that the
            second half is ``other - first``. Defaults to False.

    Returns:
        Tensor: ``[<a, a>, <a, b>, <b, b>]`` of the update directions ``a`` and ``b``
        of the two halves, float64, on the gradients' device.
    """
    # Apple's GPUs have no float64.
    dtype = torch.float32 if first.device.type == "mps" else torch.float64
    first, other = first.detach().reshape(-1), other.detach().reshape(-1)
    products = torch.zeros(3, dtype=dtype, device=first.device)
    chunk = _CHUNK_CPU if first.device.type == "cpu" else _CHUNK_GPU
    for start in range(0, first.numel(), chunk):
        stop = min(start + chunk, first.numel())
        a, b = first[start:stop].to(dtype), other[start:stop].to(dtype)
        if other_is_total:
            b = b - a
        if weight is not None:
            factor = weight(start, stop).to(dtype)
            a, b = a * factor, b * factor
        products += torch.stack((a.dot(a), a.dot(b), b.dot(b)))
    return products


def gradient_variance(products: Sequence[float]) -> float:
    """``1 - cos`` of two halves' update directions (section 3.1).

    Args:
        products: ``[<a, a>, <a, b>, <b, b>]``.

    Returns:
        float: In [0, 2]. NaN where no angle is defined: one of the directions is
        zero, or one of the numbers is not finite.
    """
    aa, ab, bb = (float(value) for value in products)
    if not all(map(math.isfinite, (aa, ab, bb))) or aa <= 0 or bb <= 0:
        return math.nan
    cosine = ab / (math.sqrt(aa) * math.sqrt(bb))
    return 1.0 - min(1.0, max(-1.0, cosine))


def half_batch_variance(variance: float, ratio: float = 1.0) -> float:
    """Variance between halves of a batch, from that against independent images.

    With ``g = m + noise`` and noise of the energy ``s / b`` over ``b`` images, a batch
    of ``b`` images and ``ratio * b`` images that have no image in common have
    ``1 / cos^2 = (1 + x) * (1 + x / ratio)`` in expectation, where
    ``x = s / (b * |m|^2)``. Halves of the batch have ``1 - cos = 2x / (1 + 2x)``.
    Solving the first for ``x`` gives ``1 + 2x = sqrt((1 - ratio)^2 + 4 * ratio /
    cos^2) - ratio``; with two whole batches, ``2 * phi / (1 + phi)``.

    Args:
        variance: ``phi = 1 - cos`` between the two gradients, in [0, 2].
        ratio: Size of the other set of images over that of the batch, positive.
            Defaults to 1: two whole batches.

    Returns:
        float: The ``1 - cos`` expected between two halves of the batch. Beyond a
        right angle the same formula goes on, above 1.
    """
    cosine = 1.0 - variance
    root = math.sqrt((1.0 - ratio) ** 2 * cosine**2 + 4.0 * ratio)
    return 1.0 - cosine / (root - ratio * cosine)


def target_multiplier(
    anchor_variance: float, variance: float, ratio_range: Tuple[float, float]
) -> float:
    """``sqrt(clamp((phi_anchor + eps) / (phi + eps)))`` (section 3.2).

    Args:
        anchor_variance: Variance of the anchor module.
        variance: Variance of the module itself.
        ratio_range: Bounds of the ratio, before the root.

    Returns:
        float: What the module's multiplier moves towards.
    """
    ratio = (anchor_variance + EPS) / (variance + EPS)
    low, high = ratio_range
    return math.sqrt(min(high, max(low, ratio)))


def smoothed_multiplier(old: float, new: float, momentum: float) -> float:
    """``momentum * old + (1 - momentum) * new``, exact where ``old == new``."""
    return old + (1.0 - momentum) * (new - old)
