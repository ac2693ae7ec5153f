"""Sizes as a model's data preprocessor pads them."""

from __future__ import annotations

from typing import Any, Tuple

__all__ = ["padded_size"]


def padded_size(model: Any, size: Tuple[int, int]) -> Tuple[int, int]:
    """Round a size up to multiples of ``pad_size_divisor``.

    Args:
        model: With a ``data_preprocessor``, or with the divisor itself. Without one,
            nothing is padded.
        size: ``(height, width)`` in pixels.

    Returns:
        ``(height, width)`` in pixels.
    """
    preprocessor = getattr(model, "data_preprocessor", model)
    divisor = getattr(preprocessor, "pad_size_divisor", None) or 1
    height, width = (-(-side // divisor) * divisor for side in size)
    return height, width
