"""Find and set the argument of a transform or data preprocessor that takes a size."""

from __future__ import annotations

import copy
import functools
import inspect
import math
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

from ..utils.validation import is_number
from .sizes import Size

# Argument that takes the size in the transforms of the libraries, and order of its
# sides: (library, class) -> (size_arg, order). Subclasses have the entry of their base.
_DEFAULTS: Dict[Tuple[str, str], Tuple[Union[str, Tuple[str, str]], str]] = {
    ("mmcv", "Resize"): ("scale", "wh"),
    ("mmcv", "RandomResize"): ("scale", "wh"),
    ("mmcv", "Pad"): ("size", "wh"),
    ("mmcv", "CenterCrop"): ("crop_size", "wh"),
    ("mmdet", "FixScaleResize"): ("scale", "wh"),
    ("mmdet", "FixShapeResize"): (("width", "height"), "wh"),
    ("mmdet", "ResizeShortestEdge"): ("scale", "short"),
    ("mmdet", "RandomCrop"): ("crop_size", "wh"),
    ("mmdet", "RandomCenterCropPad"): ("crop_size", "wh"),
    ("mmdet", "Mosaic"): ("img_scale", "wh"),
    ("mmdet", "CachedMosaic"): ("img_scale", "wh"),
    ("mmdet", "MixUp"): ("img_scale", "wh"),
    ("mmdet", "CachedMixUp"): ("img_scale", "wh"),
    ("mmdet", "RandomAffine"): ("border", "wh"),
    ("mmseg", "RandomCrop"): ("crop_size", "hw"),
    ("mmseg", "ResizeShortestEdge"): ("scale", "short"),
    ("mmseg", "RandomMosaic"): ("img_scale", "hw"),
    ("mmpretrain", "RandomResizedCrop"): ("scale", "hw"),
    ("mmpretrain", "RandomCrop"): ("crop_size", "hw"),
    ("mmpretrain", "CenterCrop"): ("crop_size", "wh"),
    ("mmpretrain", "ResizeEdge"): ("scale", "short"),
    ("mmpretrain", "EfficientNetRandomCrop"): ("scale", "short"),
    ("mmpretrain", "EfficientNetCenterCrop"): ("crop_size", "short"),
    ("mmpretrain", "MAERandomResizedCrop"): ("size", "hw"),
    ("mmpretrain", "RandomTranslatePad"): ("size", "hw"),
    ("mmpretrain", "RandomResizedCropAndInterpolationWithTwoPic"): ("size", "hw"),
}

# Default size_ratio if it is not 1. Mosaic's canvas has twice the sides of its images;
# mmdet's configs cut half a side off each border with the affine transform after it.
_SIZE_RATIOS: Dict[Tuple[str, str], float] = {("mmdet", "RandomAffine"): -0.5}


def default_size_arg(
    library: str, name: str
) -> Optional[Tuple[Union[str, Tuple[str, str]], str]]:
    """Return ``(size_arg, order)`` of a library's transform, ``None`` if not known.

    Args:
        library: Package that defines the transform, such as ``'mmcv'``.
        name: Name of its class.
    """
    return _DEFAULTS.get((library, name))


def _wrapped_class(kind: Any) -> Any:
    """Return the class inside a partial, as mmpretrain registers torchvision's."""
    if isinstance(kind, functools.partial):
        return kind.keywords.get("transform", kind)
    return kind


def size_arg_of(kind: Any) -> Tuple[Union[str, Tuple[str, str]], str]:
    """Return ``(size_arg, order)`` of a transform's class, ``'scale'`` if not known."""
    wrapped = _wrapped_class(kind)
    if wrapped is not kind:
        return "size", "hw"
    return _lookup(_DEFAULTS, kind, ("scale", "wh"))


def is_known(kind: Any) -> bool:
    """Return whether a transform's class, or a base of it, is in the table."""
    return _lookup(_DEFAULTS, kind, None) is not None


def size_ratio_of(kind: Any) -> float:
    """Return the default ``size_ratio`` of a transform's class."""
    return _lookup(_SIZE_RATIOS, kind, 1.0)


def _lookup(table: Mapping[Tuple[str, str], Any], kind: Any, default: Any) -> Any:
    """Return the entry of a class or of its nearest base."""
    for base in inspect.getmro(kind) if inspect.isclass(kind) else ():
        key = (base.__module__.partition(".")[0], base.__name__)
        if key in table:
            return table[key]
    return default


def parse_size_arg(value: Any) -> Tuple[str, ...]:
    """Parse the name of the argument that takes the size, or a pair of names."""
    paths = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not 1 <= len(paths) <= 2 or not all(isinstance(p, str) and p for p in paths):
        raise ValueError(
            f"size_arg must be the name of an argument, or a pair of names, "
            f"but got {value!r}"
        )
    return paths


def parse_size_ratio(value: Any) -> Tuple[float, float]:
    """Parse a ratio of sizes: a number, or ``(height, width)``."""
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or not all(
        is_number(r) and math.isfinite(r) and r != 0 for r in pair
    ):
        raise ValueError(
            "size_ratio must be a number or a pair of numbers (height, width), not 0, "
            f"but got {value!r}"
        )
    return float(pair[0]), float(pair[1])


def scaled_size(size: Size, ratio: Tuple[float, float]) -> Size:
    """Return a size times a ratio of heights and widths, in whole pixels."""
    # Round half a pixel up; round() would round it to even.
    height, width = (math.floor(s * r + 0.5) for s, r in zip(size, ratio))
    return height, width


def check_size_arg(
    path: str, config: Mapping, kind: Any, kwargs_count: bool = True
) -> None:
    """Refuse a path that is no argument of ``kind``, or leads nowhere in its config.

    Args:
        path: Name of an argument, or a dotted path into a nested config.
        config: The config of ``kind``.
        kind: What is built from the config.
        kwargs_count: Whether ``**kwargs`` of ``kind`` take any name. Defaults to True.

    Raises:
        ValueError: ``kind`` has no such argument, or its config no such entry.
    """
    name, _, rest = path.partition(".")
    parameters, takes_any = _parameters(kind)
    if name not in parameters and not (takes_any and kwargs_count):
        raise ValueError(
            f"size_arg must be an argument of {config['type']!r}, one of "
            f"{sorted(parameters)}, but got {path!r}"
        )
    if not rest:
        return
    try:
        set_size(copy.deepcopy(config), path, 0)
    except (KeyError, IndexError, TypeError, ValueError):
        raise ValueError(
            f"size_arg must lead to a nested config of {config['type']!r}, but got "
            f"{path!r} for {config!r}"
        ) from None


def _parameters(kind: Any) -> Tuple[List[str], bool]:
    """Return the names of the arguments of ``kind``, and whether it takes others."""
    parameters = inspect.signature(_wrapped_class(kind)).parameters.values()
    named = [
        p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    return named, any(p.kind is p.VAR_KEYWORD for p in parameters)


def set_size(config: Any, path: str, value: Any) -> None:
    """Set the value at a dotted path of a nested config, in place."""
    *parents, last = path.split(".")
    for key in parents:
        config = config[int(key)] if isinstance(config, list) else config[key]
    if isinstance(config, list):
        config[int(last)] = value
    else:
        config[last] = value
