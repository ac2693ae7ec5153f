"""Check the numbers and switches that users write."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as np

__all__ = ["is_integer", "is_number", "parse_bool", "parse_int"]


def is_integer(value: Any) -> bool:
    """Return whether ``value`` is an integer (NumPy's included, ``bool`` excluded)."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a real number, neither NaN nor a ``bool``."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return not math.isnan(float(value))


def parse_int(value: Any, name: str, minimum: int = 1) -> int:
    """Check that ``value`` is an integer of at least ``minimum``.

    Args:
        value: What the user wrote.
        name: The argument's name, for the error.
        minimum: The smallest valid value. Defaults to 1.

    Returns:
        The value as a plain ``int``.

    Raises:
        ValueError: It is not such an integer.
    """
    if not is_integer(value) or value < minimum:
        raise ValueError(
            f"{name} must be an integer of at least {minimum}, but got {value!r}"
        )
    return int(value)


def parse_bool(value: Any, name: str) -> bool:
    """Check that ``value`` is True or False; 1 and 0 are taken as these.

    On a command line ``no`` and ``off`` are words, which would count as True.

    Args:
        value: What the user wrote.
        name: The argument's name, for the error.

    Returns:
        The value as a plain ``bool``.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(value, (bool, np.bool_)) and not (
        is_integer(value) and value in (0, 1)
    ):
        raise ValueError(f"{name} must be True or False, but got {value!r}")
    return bool(value)
