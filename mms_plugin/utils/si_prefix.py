"""Large numbers with the prefixes of the SI."""

from __future__ import annotations

from typing import Tuple

__all__ = ["si_prefix", "si_text"]


def si_prefix(value: float) -> Tuple[float, str]:
    """Return ``(1e12, 'T')`` from 1e12 on, ..., ``(1.0, '')`` below a million."""
    for factor, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G")):
        if value >= factor:
            return factor, prefix
    return (1e6, "M") if value >= 1e6 else (1.0, "")


def si_text(value: float, unit: str) -> str:
    """Return a value with its prefix and unit, such as ``'4.089 TFLOPs'``."""
    factor, prefix = si_prefix(value)
    return f"{value / factor:.4g} {prefix}{unit}"
