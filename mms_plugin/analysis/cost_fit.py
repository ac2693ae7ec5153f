"""Fit the cost of an iteration, by size and batch size, to measurements."""

from __future__ import annotations

import itertools
from typing import List, NamedTuple, Sequence

import numpy as np

__all__ = ["CostFit", "Measurement", "fit_cost", "relative_errors"]


class Measurement(NamedTuple):
    """One measured kind of iteration.

    Attributes:
        height: Of the images, in pixels.
        width: Likewise.
        batch_size: Images of the iteration.
        value: What it took, such as seconds or bytes; positive.
    """

    height: int
    width: int
    batch_size: int
    value: float


class CostFit(NamedTuple):
    """An iteration costs ``overhead + batch_size * (alpha * height * width + beta)``.

    Attributes:
        overhead: Cost of an iteration whatever its images (optimizer, launches).
        alpha: Cost of a pixel.
        beta: Cost of an image beside that of its pixels (RoI heads).
    """

    overhead: float
    alpha: float
    beta: float

    def per_image(self, height: int, width: int) -> float:
        """Return the cost of one image more at a size in pixels."""
        return self.alpha * height * width + self.beta

    def at(self, height: int, width: int, batch_size: int) -> float:
        """Return the cost of an iteration."""
        return self.overhead + batch_size * self.per_image(height, width)


def fit_cost(measurements: Sequence[Measurement]) -> CostFit:
    """Fit overhead, ``alpha`` and ``beta``, none of them negative.

    Least squares of the relative errors, with Huber's weights against outliers: an
    iteration that something else slowed down counts less.

    Args:
        measurements: At two sizes or more, and at one of them or more with several
            batch sizes.

    Returns:
        The fit, in the unit of the measurements.

    Raises:
        ValueError: The measurements do not tell the three apart, or one is not
            positive.
    """
    values = np.array([m.value for m in measurements], dtype=float)
    if not np.isfinite(values).all() or (values <= 0).any():
        raise ValueError("measurements must be positive and finite")
    # Relative errors: each row over its value, so that all of them should give 1.
    rows = np.array(
        [[1.0, m.batch_size * m.height * m.width, m.batch_size] for m in measurements],
        dtype=float,
    ).reshape(-1, 3)
    rows /= values[:, None]
    scale = np.linalg.norm(rows, axis=0)
    if len(rows) < 3 or np.linalg.matrix_rank(rows / scale, tol=1e-6) < 3:
        raise ValueError(
            "measurements must cover at least two sizes, and several batch sizes other "
            "than those of the pixel budget, to tell the cost of an iteration, a pixel "
            "and an image apart"
        )
    rows /= scale
    weights = np.ones(len(rows))
    solution = np.zeros(3)
    for _ in range(50):
        solution = _non_negative_least_squares(rows, weights)
        errors = np.abs(rows @ solution - 1.0)
        # 1.4826 makes the median error a standard deviation, 1.345 is Huber's choice.
        limit = 1.345 * 1.4826 * float(np.median(errors))
        # Errors below the rounding of doubles are no outliers.
        weights = np.minimum(1.0, max(limit, 1e-12) / np.maximum(errors, 1e-12))
    overhead, alpha, beta = (solution / scale).tolist()
    return CostFit(overhead, alpha, beta)


def relative_errors(fit: CostFit, measurements: Sequence[Measurement]) -> List[float]:
    """Return ``|fitted - measured| / measured`` of each measurement."""
    return [abs(fit.at(*m[:3]) - m.value) / m.value for m in measurements]


def _non_negative_least_squares(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit three coefficients of at least 0: least weighted squared distance to 1.

    Among all choices of which are 0, that of the best solution without a negative one
    is the optimum; for three there are seven.
    """
    root = np.sqrt(weights)
    best, least = np.zeros(3), np.inf
    for count in (1, 2, 3):
        for chosen in itertools.combinations(range(3), count):
            part = rows[:, chosen] * root[:, None]
            coefficients = np.linalg.lstsq(part, root, rcond=None)[0]
            if (coefficients < 0).any():
                continue
            distance = float(((part @ coefficients - root) ** 2).sum())
            if distance < least:
                best, least = np.zeros(3), distance
                best[list(chosen)] = coefficients
    return best
