"""Read MMEngine's own checkpoints with torch's ``weights_only`` check on.

From torch 2.6 on, ``torch.load`` refuses a file that names a class or function outside
its list of safe globals. MMEngine's checkpoints do so: they hold the message hub's
``HistoryBuffer`` objects, NumPy arrays and NumPy scalars, a function of ``OneCycleLR``
and the ``ConfigDict`` of a nested ``metainfo``, so that testing and resuming fail. This
module adds what these need to the list. The check stays on: a file that names anything
else is still refused.

Some MMEngines turn the check off: onedl-mmengine loads a refused file again with
``weights_only=False``, and the MMEngine after 0.10.7 always passes that. In the
commands, :func:`check_by_default` overrides both.
"""

from __future__ import annotations

import io
import os
import re
from pickle import UnpicklingError
from typing import Any, Callable, List, Tuple, Type

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.optim import OneCycleParamScheduler

__all__ = ["allow_mmengine_checkpoints", "check_by_default", "check_is_on"]

# The methods that HistoryBuffer stores with each of its instances.
_STATISTICS = ("min", "max", "current", "mean")
# The functions of which OneCycleParamScheduler stores one in its state.
_ANNEALING = ("_annealing_cos", "_annealing_linear")
# Types of numbers in a log or a metric. Objects of Python are not among them.
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


def _method(owner: Any, name: Any) -> Callable[..., Any]:
    """Stand in for ``builtins.getattr``, for a few methods of MMEngine only.

    Pickle writes a method as ``getattr(class, name)``. With the real ``getattr`` a
    crafted file could reach any function.
    """
    if owner is HistoryBuffer and name in _STATISTICS:
        method: Callable[..., Any] = HistoryBuffer.__dict__[name]
        return method
    if owner is OneCycleParamScheduler and name in _ANNEALING:
        return OneCycleParamScheduler.__dict__[name].__func__
    raise UnpicklingError(
        f"a checkpoint may only use the methods {', '.join(_STATISTICS)} of "
        f"HistoryBuffer and {', '.join(_ANNEALING)} of OneCycleParamScheduler, but "
        f"this one asks for {name!r} of {owner!r}"
    )


def _reconstruct_array(subtype: Any, shape: Any, typecode: Any) -> np.ndarray:
    """Stand in for NumPy's ``_reconstruct``, for plain arrays only."""
    if subtype is not np.ndarray:
        raise UnpicklingError(
            f"a checkpoint may only hold plain NumPy arrays, but got {subtype!r}"
        )
    return np.ndarray.__new__(subtype, shape, typecode)


def _rebuild_scalar(dtype: Any, value: Any) -> np.generic:
    """Stand in for NumPy's ``scalar``, for numbers and booleans only."""
    if not isinstance(dtype, np.dtype) or dtype.type not in _SCALAR_TYPES:
        raise UnpicklingError(
            f"a checkpoint may only hold NumPy scalars of numbers, but got {dtype!r}"
        )
    if isinstance(value, str):  # torch's unpickler leaves old byte strings as text
        value = value.encode("latin1")
    scalar: np.generic = np.frombuffer(value, dtype=dtype, count=1)[0]
    return scalar


def _empty_bytes() -> bytes:
    """Stand in for ``bytes``, which pickle calls for the content of empty arrays."""
    return b""


def _named(function: Callable[..., Any], module: str, name: str) -> Callable[..., Any]:
    """Return a function that the unpickler finds as ``module.name``.

    A tuple ``(function, name)`` would do the same, but only from torch 2.6 on.
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
    """Return the classes and functions that MMEngine's checkpoints name."""
    found: List[Any] = [
        HistoryBuffer,
        np.ndarray,
        np.dtype,
        # Of a dataset's metainfo, as MMEngine builds it from a config.
        ConfigDict,
        OneCycleParamScheduler,
        _named(_method, "builtins", "getattr"),
        _named(_empty_bytes, "builtins", "bytes"),
    ]
    # NumPy 2 renamed the module; each version shall read the other's files.
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        found.append(_named(_reconstruct_array, module, "_reconstruct"))
        found.append(_named(_rebuild_scalar, module, "scalar"))
    # A file names the class of a dtype to restore its byte order.
    dtype_classes = {type(np.dtype(scalar)) for scalar in _SCALAR_TYPES}
    found.extend(sorted(dtype_classes, key=repr))
    return found


_SAFE_GLOBALS = _safe_globals()


def _kept_globals() -> List[Any]:
    """Return the same classes as tuples ``(class, name)``, from torch 2.6 on.

    After each load, onedl-mmengine removes its own classes from torch's list, those
    that this package has added too. It leaves the tuples.
    """
    return [
        (item, f"{item.__module__}.{item.__qualname__}")
        for item in _SAFE_GLOBALS
        if isinstance(item, type)
    ]


_FORCED = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")


def _takes_names() -> bool:
    """Return whether torch's list takes tuples ``(class, name)``."""
    numbers = re.findall(r"\d+", torch.__version__)[:2]
    return [int(number) for number in numbers] >= [2, 6]


def allow_mmengine_checkpoints() -> None:
    """Add what MMEngine's own checkpoints hold to torch's list of safe globals.

    Called when ``mms_plugin`` is imported; calling it again changes nothing. A torch
    without such a list does not check by default, and nothing is done.
    """
    add_safe_globals = getattr(torch.serialization, "add_safe_globals", None)
    if add_safe_globals is not None:
        add_safe_globals(_SAFE_GLOBALS + (_kept_globals() if _takes_names() else []))


def check_by_default() -> None:
    """Turn on torch's ``weights_only`` check for this process and its workers.

    Sets the environment variable ``TORCH_FORCE_WEIGHTS_ONLY_LOAD``, which overrides
    ``weights_only=False``, unless the user has set it or its opposite. Does nothing
    with torch below 2.4, which has no list of safe globals and could not read
    MMEngine's own files with the check on.

    Raises:
        RuntimeError: This torch ignores the variable.
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
            f"torch {torch.__version__} ignores {forced}=1: checkpoints would "
            f"be read without its weights_only check; to continue, set {unforced}=1"
        )


class _Probe:
    """Is pickled as a call of a harmless function that is on no list."""

    def __reduce__(self) -> Tuple[Any, ...]:
        return _unlisted, ()


def _unlisted() -> None:
    """Do nothing."""


def check_is_on() -> bool:
    """Return whether ``torch.load`` refuses functions even with ``weights_only=False``.

    It loads a small file that calls a function without effect.
    """
    stream = io.BytesIO()
    torch.save(_Probe(), stream)
    stream.seek(0)
    try:
        torch.load(stream, weights_only=False)
    except UnpicklingError:
        return True
    return False
