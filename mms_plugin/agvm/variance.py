"""Compute variances and multipliers from inner products: AGVM's arithmetic on floats.

Source: arXiv 2210.11078, "Large-batch Optimization for Dense Visual Predictions"
(NeurIPS 2022), section 3.
"""

from __future__ import annotations

import math
from typing import Sequence, Tuple

__all__ = [
    "EPS",
    "gradient_variance",
    "half_batch_variance",
    "smoothed_multiplier",
    "target_multiplier",
]

EPS = 1e-6
"""Added to both variances before their ratio is taken (section 3.2)."""


def gradient_variance(products: Sequence[float]) -> float:
    """Return ``1 - cos`` of the update directions of two halves (section 3.1).

    Args:
        products: ``[<a, a>, <a, b>, <b, b>]``.

    Returns:
        float: In [0, 2]. NaN where the angle is not defined: a direction is zero, or a
        number is not finite.
    """
    aa, ab, bb = (float(value) for value in products)
    if not all(map(math.isfinite, (aa, ab, bb))) or aa <= 0 or bb <= 0:
        return math.nan
    cosine = ab / (math.sqrt(aa) * math.sqrt(bb))
    return 1.0 - min(1.0, max(-1.0, cosine))


def half_batch_variance(variance: float, ratio: float = 1.0) -> float:
    """Convert the variance between two batches to that of two halves of the first.

    Let the gradient of ``b`` images be ``m + noise``, where the noise has the energy
    ``s / b``. A batch of ``b`` images and ``ratio * b`` other images have
    ``1 / cos^2 = (1 + x) * (1 + x / ratio)`` in expectation, where
    ``x = s / (b * |m|^2)``. Halves of the batch have ``1 - cos = 2x / (1 + 2x)``.
    Solving the first for ``x`` gives ``1 + 2x = sqrt((1 - ratio)^2 + 4 * ratio /
    cos^2) - ratio``; with two whole batches, ``2 * phi / (1 + phi)``.

    Args:
        variance: ``phi = 1 - cos`` between the two gradients, in [0, 2]. They have no
            image in common.
        ratio: Images of the second batch over those of the first, positive.
            Defaults to 1.

    Returns:
        float: The expected ``1 - cos`` between two halves of the first batch. Beyond a
        right angle the same formula holds, with results above 1.
    """
    cosine = 1.0 - variance
    root = math.sqrt((1.0 - ratio) ** 2 * cosine**2 + 4.0 * ratio)
    return 1.0 - cosine / (root - ratio * cosine)


def target_multiplier(
    anchor_variance: float, variance: float, ratio_range: Tuple[float, float]
) -> float:
    """Return ``sqrt(clamp((phi_anchor + eps) / (phi + eps)))`` (section 3.2).

    Args:
        anchor_variance: Variance of the anchor module.
        variance: Variance of the module itself.
        ratio_range: Bounds of the ratio, before the root.

    Returns:
        float: The value that the module's multiplier moves towards.
    """
    ratio = (anchor_variance + EPS) / (variance + EPS)
    low, high = ratio_range
    return math.sqrt(min(high, max(low, ratio)))


def smoothed_multiplier(old: float, new: float, momentum: float) -> float:
    """Return ``momentum * old + (1 - momentum) * new``, exactly if they are equal."""
    return old + (1.0 - momentum) * (new - old)
