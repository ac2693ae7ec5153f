"""Reading MMEngine's own checkpoints back under ``weights_only=True``.

From torch 2.6 on, ``torch.load`` refuses every global that is not on its list
of safe ones, and MMEngine writes some: the message hub's ``HistoryBuffer`` objects,
NumPy arrays and NumPy scalars. Testing and resuming then fail on MMEngine's own files.
Here exactly those globals are allow-listed; the check itself stays on, so that a file
that asks for anything else is still refused.

Not every MMEngine leaves the check on: onedl-mmengine loads a refused file again with
``weights_only=False``, and the MMEngine that follows 0.10.7 passes that always. In the
commands :func:`check_by_default` overrides both.
"""

from __future__ import annotations

import io
import os
import re
from pickle import UnpicklingError
from typing import Any, Callable, List, Tuple, Type

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

__all__ = ["allow_mmengine_checkpoints", "check_by_default", "check_is_on"]

# What HistoryBuffer registers by itself and stores with each of its instances.
_STATISTICS = ("min", "max", "current", "mean")
# Kinds that a log or a metric can hold. No object dtype.
_SCALAR_TYPES: Tuple[Type[np.generic], ...] = (
    np.bool_,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.float16,
    np.float32,
    np.float64,
)


def _statistics_method(owner: Any, name: Any) -> Callable[..., Any]:
    """Stand-in for ``builtins.getattr``, for HistoryBuffer's methods alone.

    Pickle writes a method as ``getattr(class, name)``. The real ``getattr``
    would lead a crafted file to any callable.
    """
    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise UnpicklingError(
            f"a checkpoint may read the methods {', '.join(_STATISTICS)} of "
            f"HistoryBuffer alone, but this one asks for {name!r} of {owner!r}"
        )
    method: Callable[..., Any] = HistoryBuffer.__dict__[name]
    return method


def _reconstruct_array(subtype: Any, shape: Any, typecode: Any) -> np.ndarray:
    """NumPy's ``_reconstruct``, for plain arrays: the state is set afterwards."""
    if subtype is not np.ndarray:
        raise UnpicklingError(
            f"a checkpoint may hold plain arrays alone, got {subtype!r}"
        )
    return np.ndarray.__new__(subtype, shape, typecode)


def _rebuild_scalar(dtype: Any, value: Any) -> np.generic:
    """NumPy's ``scalar``, for numbers and booleans."""
    if not isinstance(dtype, np.dtype) or dtype.type not in _SCALAR_TYPES:
        raise UnpicklingError(
            f"a checkpoint may hold numbers alone, got dtype {dtype!r}"
        )
    if isinstance(value, str):  # torch's unpickler leaves old byte strings as text
        value = value.encode("latin1")
    scalar: np.generic = np.frombuffer(value, dtype=dtype, count=1)[0]
    return scalar


def _empty_bytes() -> bytes:
    """Pickle writes the empty content of an array as ``bytes()``."""
    return b""


def _named(function: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
    """A new function that the unpickler finds under ``module.name``.

    Tuples ``(function, name)`` would say the same, but not every torch with the
    check takes them.
    """

    def stand_in(*args: Any) -> Any:
        try:
            return function(*args)
        except (TypeError, ValueError) as error:
            raise UnpicklingError(f"{module}.{name}: {error}") from error

    stand_in.__module__ = module
    stand_in.__name__ = stand_in.__qualname__ = name
    stand_in.__doc__ = function.__doc__
    return stand_in


def _safe_globals() -> List[Any]:
    found: List[Any] = [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        _named(_statistics_method, "builtins", "getattr"),
        _named(_empty_bytes, "builtins", "bytes"),
    ]
    # NumPy 2 moved the module: a file written with either one is read by both.
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found.append(_named(_reconstruct_array, module, "_reconstruct"))
        found.append(_named(_rebuild_scalar, module, "scalar"))
    # The class of a dtype is asked for when the dtype's byte order is restored.
    dtype_classes = {type(np.dtype(scalar)) for scalar in _SCALAR_TYPES}
    found.extend(sorted(dtype_classes, key=repr))
    return found


_SAFE_GLOBALS = _safe_globals()


def _kept_globals() -> List[Any]:
    """The same, in a form that nobody else's list holds.

    onedl-mmengine takes its own list off torch's after each load, and with it the
    classes that both hold. Tuples ``(class, name)`` stay. From torch 2.6 on.
    """
    return [
        (item, f"{item.__module__}.{item.__qualname__}")
        for item in _SAFE_GLOBALS
        if isinstance(item, type)
    ]


_FORCED = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


def _takes_names() -> bool:
    """Whether torch's list takes tuples ``(class, name)``."""
    numbers = re.findall(r"\d+", torch.__version__)[:2]
    return [int(number) for number in numbers] >= [2, 6]


def allow_mmengine_checkpoints() -> None:
    """Allow-list what MMEngine's own checkpoints hold.

    Called when ``mms_plugin`` is imported; calling it again changes nothing.
    A torch that has no allow-list has no such check by default either, and
    nothing is to be done.
    """
    add_safe_globals = getattr(torch.serialization, "add_safe_globals", None)
    if add_safe_globals is not None:
        add_safe_globals(_SAFE_GLOBALS + (_kept_globals() if _takes_names() else []))


def check_by_default() -> None:
    """Let ``torch.load`` check all that it reads, where this torch can.

    For a command's own process and its workers: sets torch's environment variable for
    that, which overrides ``weights_only=False`` too, unless the user has set it or its
    opposite. Older torch (below 2.4) has no list, and under the check could not read
    MMEngine's own files.

    Raises:
        RuntimeError: The variable is set, but this torch does not heed it.
    """
    forced, unforced = _FORCED
    if forced in os.environ or unforced in os.environ:
        return
    if not hasattr(torch.serialization, "add_safe_globals"):
        return
    os.environ[forced] = "1"
    if not check_is_on():
        del os.environ[forced]
        raise RuntimeError(
            f"torch {torch.__version__} does not heed {forced}=1: checkpoints would "
            f"be read without its weights_only check; to continue, set {unforced}=1"
        )


class _Probe:
    """Pickles as a call that does nothing and that no allow-list names."""

    def __reduce__(self) -> Tuple[Any, ...]:
        return _unlisted, ()


def _unlisted() -> None:
    """Do nothing."""


def check_is_on() -> bool:
    """Return whether ``torch.load`` refuses code even with ``weights_only=False``.

    Tried on a small file that calls a function without effect.
    """
    stream = io.BytesIO()
    torch.save(_Probe(), stream)
    stream.seek(0)
    try:
        torch.load(stream, weights_only=False)
    except UnpicklingError:
        return True
    return False
