"""Measure how far confidences are from the accuracy: pure functions.

The confidence of a sample is the largest of its class probabilities. Samples are put
into bins by confidence; a bin's gap is the difference between its mean confidence and
its accuracy (Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Sequence

import numpy as np

__all__ = [
    "BINNINGS",
    "NORMS",
    "Bin",
    "assign_bins",
    "calibration_error",
    "make_bins",
]

BINNINGS = ("equal_width", "equal_mass")
NORMS = ("l1", "l2", "max")


@dataclass(frozen=True)
class Bin:
    """The samples of one bin.

    Attributes:
        lower: Least confidence of the bin, 0 to 1. For equal-mass bins, of the
            samples in it.
        upper: Greatest confidence; exclusive for equal-width bins, except for the
            last.
        count: Number of samples.
        confidence: Their mean confidence, 0 to 1; None in an empty bin.
        accuracy: The share of them that is right, 0 to 1; None in an empty bin.
    """

    lower: float
    upper: float
    count: int
    confidence: Any
    accuracy: Any

    @property
    def gap(self) -> float:
        """Mean confidence minus accuracy: above 0, too confident; 0 if empty."""
        return self.confidence - self.accuracy if self.count else 0.0

    def to_dict(self) -> Dict[str, Any]:
        """Return all of it as plain numbers."""
        return {**asdict(self), "gap": self.gap}


def assign_bins(
    confidences: np.ndarray, num_bins: int, binning: str = "equal_width"
) -> np.ndarray:
    """Return the bin of each sample; does not depend on the order of the samples.

    Args:
        confidences: ``(N,)``, 0 to 1; compared as float32, the precision of scores.
        num_bins: Number of bins.
        binning: ``'equal_width'``: bin ``i`` is ``[i / num_bins, (i + 1) /
            num_bins)``, the last one with its end. ``'equal_mass'``: sample ``k`` by
            confidence of ``N`` lies in bin ``floor(num_bins * k / N)``, equal
            confidences in the bin of their first, so that bins differ by at most one
            sample unless there are ties. Defaults to ``'equal_width'``.

    Returns:
        ``(N,)`` int64, 0 to ``num_bins - 1``.

    Raises:
        ValueError: There is no such binning.
    """
    if binning not in BINNINGS:
        raise ValueError(f"binning must be one of {BINNINGS}, but got {binning!r}")
    values = np.asarray(confidences, np.float32)
    if binning == "equal_width":
        # Rounded as the confidences are: one that lies on an edge is not beside it.
        edges = (np.arange(1, num_bins) / num_bins).astype(np.float32)
        return np.searchsorted(edges, values, side="right")
    smaller = np.searchsorted(np.sort(values), values, side="left")
    return (num_bins * smaller) // max(len(values), 1)


def make_bins(
    confidences: Sequence[float],
    correct: Sequence[bool],
    num_bins: int = 15,
    binning: str = "equal_width",
) -> List[Bin]:
    """Put samples into bins by confidence.

    Args:
        confidences: ``(N,)``, the largest class probability of each sample, 0 to 1.
        correct: ``(N,)``, whether the class of that probability is the right one.
        num_bins: Number of bins. Defaults to 15.
        binning: See :func:`assign_bins`. Defaults to ``'equal_width'``.

    Returns:
        ``num_bins`` bins, by confidence; empty ones too.

    Raises:
        ValueError: There is no such binning.
    """
    values = np.asarray(confidences, np.float64)
    right = np.asarray(correct, np.float64)
    assigned = assign_bins(values, num_bins, binning)
    bins = []
    upper = 0.0
    for number in range(num_bins):
        inside = assigned == number
        count = int(inside.sum())
        if binning == "equal_width":
            lower, upper = number / num_bins, (number + 1) / num_bins
        elif count:
            lower, upper = float(values[inside].min()), float(values[inside].max())
        else:
            lower = upper  # empty because of ties: a bin of width zero
        bins.append(
            Bin(
                lower=lower,
                upper=upper,
                count=count,
                confidence=float(values[inside].mean()) if count else None,
                accuracy=float(right[inside].mean()) if count else None,
            )
        )
    return bins


def calibration_error(bins: Sequence[Bin], norm: str = "l1") -> float:
    """Return the gaps of all bins as one number, 0 to 1.

    Args:
        bins: What :func:`make_bins` gave.
        norm: ``'l1'``: the mean of the gaps' sizes, each sample counting once (ECE);
            ``'l2'``: the root of their mean square (RMSCE); ``'max'``: the largest
            (MCE). Defaults to ``'l1'``.

    Raises:
        ValueError: There is no such norm.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {NORMS}, but got {norm!r}")
    counts = np.array([item.count for item in bins], np.float64)
    gaps = np.abs([item.gap for item in bins])
    if norm == "max":
        return float(gaps.max())
    if norm == "l1":
        return float(np.average(gaps, weights=counts))
    return float(np.sqrt(np.average(gaps**2, weights=counts)))
