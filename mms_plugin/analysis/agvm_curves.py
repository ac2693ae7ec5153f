"""AGVM's multipliers and variances over a training, from its log."""

from __future__ import annotations

import math
from typing import Any, Dict, Iterable, List, Mapping, Sequence, Tuple

__all__ = ["agvm_curves", "running_mean", "summarize_agvm"]

Curve = List[Tuple[float, float]]

_PREFIX = "agvm/"
_KINDS = ("agvm/mu/", "agvm/phi/")


def agvm_curves(records: Iterable[Mapping[str, Any]]) -> Dict[str, Curve]:
    """Return ``(iteration, value)`` by ``'mu/<module>'`` and ``'phi/<module>'``.

    Values that are no numbers are left out; NaN is kept.

    Args:
        records: Of MMEngine's JSON log, in their order.
    """
    curves: Dict[str, Curve] = {}
    for record in records:
        for name, value in record.items():
            if name.startswith(_KINDS) and isinstance(value, (int, float)):
                points = curves.setdefault(name[len(_PREFIX) :], [])
                points.append((record["step"], float(value)))
    return curves


def running_mean(points: Sequence[Tuple[float, float]], window: int) -> Curve:
    """Return means over ``window`` consecutive values, each at the last of them."""
    values = [value for _, value in points]
    return [
        (points[end - 1][0], sum(values[end - window : end]) / window)
        for end in range(window, len(values) + 1)
    ]


def summarize_agvm(curves: Mapping[str, Curve]) -> Dict[str, Dict[str, float]]:
    """Return how AGVM's curves end.

    Args:
        curves: As :func:`agvm_curves` gives them.

    Returns:
        ``phi``, the mean over the last third of the measurements, and ``mu``, the
        last multiplier, both by module. Only finite values count; a module without
        any is left out.
    """
    summary: Dict[str, Dict[str, float]] = dict(phi={}, mu={})
    for name, points in curves.items():
        kind, _, module = name.partition("/")
        values = [value for _, value in points if math.isfinite(value)]
        if not values:
            continue
        if kind == "phi":
            last = values[-(-2 * len(values) // 3) :] or values
            summary["phi"][module] = sum(last) / len(last)
        elif kind == "mu":
            summary["mu"][module] = values[-1]
    return summary
