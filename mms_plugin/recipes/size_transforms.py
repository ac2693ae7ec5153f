"""Find the transforms that set a size, and the size, from their configs.

Pure functions. Nothing of the libraries is imported.
"""

from __future__ import annotations

import copy
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ..multi_scale.size_argument import default_size_arg
from ..utils.config_types import Kind, kind_of
from .config_edits import short

Sides = Tuple[float, float]
"""``(height, width)`` in pixels. Borders may be negative."""

# What a transform does with its size. A size before the first resize selects a part of
# the image and has no effect on the input size of the network.
RESIZE, CUT, MIX, BORDER = "resize", "cut", "mix", "border"

_ROLES = {
    "Resize": RESIZE,
    "RandomResize": RESIZE,
    "FixShapeResize": RESIZE,
    "FixScaleResize": RESIZE,
    "ResizeShortestEdge": RESIZE,
    "RandomResizedCrop": RESIZE,
    "ResizeEdge": RESIZE,
    "EfficientNetRandomCrop": RESIZE,
    "EfficientNetCenterCrop": RESIZE,
    "MAERandomResizedCrop": RESIZE,
    "Mosaic": RESIZE,
    "CachedMosaic": RESIZE,
    # Their size is that of the image mixed in. The result has that of the other image.
    "MixUp": MIX,
    "CachedMixUp": MIX,
    "RandomCrop": CUT,
    "CenterCrop": CUT,
    "RandomCenterCropPad": CUT,
    "RandomTranslatePad": CUT,
    "Pad": CUT,
    "RandomAffine": BORDER,
}

ALBUMENTATIONS = "albumentations"
"""Stands in for the scope of transforms inside ``Albu`` and ``Albumentations``."""

# Transforms that always draw from several sizes.
_MANY_SIZES = ("RandomChoiceResize", "ScaleJitter", "RandomShortestSize")

# Arguments that suggest that an unknown transform sets a size.
_SIZE_LIKE = (
    "scale",
    "scales",
    "size",
    "second_size",
    "img_scale",
    "img_size",
    "image_size",
    "crop_size",
    "input_size",
    "output_size",
    "target_size",
    "height",
    "width",
    "max_size",
    "resolution",
)


class SizeUse(NamedTuple):
    """How a transform uses a size.

    Attributes:
        role: ``RESIZE``, ``CUT``, ``MIX`` or ``BORDER``.
        size: ``(height, width)`` in pixels; ``None`` if it draws from several sizes.
        size_args: Names of the arguments that hold the size.
        options: Further arguments that ``MultiScaleTransform`` needs.
        drawn: Sizes that it draws from, or the two ends of a range. Empty if it does
            not draw or the sizes are unknown.
        is_range: ``drawn`` are the ends of a range.
        keep_ratio: The size is an upper bound ``(short side, long side)``.
    """

    role: str
    size: Optional[Sides]
    size_args: Tuple[str, ...]
    options: Dict[str, Any]
    drawn: Tuple[Sides, ...] = ()
    is_range: bool = False
    keep_ratio: bool = False


def read_size(transform: Mapping, scope: str) -> Optional[SizeUse]:
    """Return how a transform uses a size; ``None`` if it does not set one.

    Args:
        transform: Config of the transform.
        scope: Scope of the config, such as ``'mmdet'``.

    Raises:
        ValueError: If it may set a size in a way that is unknown. The message does not
            name its place in the config.
    """
    kind = kind_of(transform, scope)
    if kind.name in _MANY_SIZES:
        return _several_sizes(transform, "scales")
    if kind.library == "torchvision":
        return _torchvision(transform, kind)
    found = default_size_arg(kind.library, kind.name)
    if found is None and kind.library != ALBUMENTATIONS:
        found = default_size_arg("mmcv", kind.name)
    if kind.name not in _ROLES or found is None:
        _refuse_size_like(transform, kind)
        return None
    _refuse_size_like(transform, kind, ("second_size",))
    role = _ROLES[kind.name]
    size_arg, order = found
    options: Dict[str, Any] = {}
    if kind.name == "ResizeShortestEdge" and transform.get("max_size") is not None:
        # Both arguments together are the bound: short side and long side.
        size_arg, order = ("scale", "max_size"), "hw"
        options = dict(size_arg=size_arg, order=order)
        if isinstance(transform.get("scale"), (list, tuple)):
            return SizeUse(RESIZE, None, size_arg, {})
    names = size_arg if isinstance(size_arg, tuple) else (size_arg,)
    values = [transform.get(name) for name in names]
    value: Any = values if len(values) > 1 else values[0]
    if None in values:
        value = None
    if value is None:  # the size is set by a factor or a divisor
        _refuse_size_like(transform, kind)
        return None
    if kind.name == "RandomCrop" and "relative" in str(transform.get("crop_type")):
        return None
    if _is_nested(value):
        if role == RESIZE and len(names) == 1:
            return _several_sizes(transform, names[0], is_range=True)
        return SizeUse(role, None, names, options)
    sides = _sides(value, order)
    if sides is None:
        raise ValueError(
            f"{kind.name} must have its size as a number of pixels or a pair of them, "
            f"but got {names[0]}={value!r}"
        )
    if role == BORDER and not any(sides):
        return None
    keep_ratio = bool(transform.get("keep_ratio")) or "max_size" in names
    if transform.get("keep_ratio"):
        sides = (min(sides), max(sides))  # a bound, for portrait and landscape
    return SizeUse(role, sides, names, options, keep_ratio=keep_ratio)


def resize_config(transform: Mapping, use: SizeUse) -> Any:
    """Return a resize without a size, to replace one that draws from several sizes."""
    dropped = (*use.size_args, "type", "resize_type", "ratio_range")
    # dict.get keeps a lazy object of a new-style config, so that it can be dumped.
    kept: Any = copy.copy(transform)
    kind = dict.get(kept, "resize_type", "Resize")
    for key in dropped:
        if key in kept:
            del kept[key]
    if "max_size" in use.size_args and not _is_shortest_edge(transform):
        kept["keep_ratio"] = True
    kept["type"] = kind
    return kept


def _several_sizes(transform: Mapping, name: str, is_range: bool = False) -> SizeUse:
    value = transform.get(name)
    options: Dict[str, Any] = {}
    names: Tuple[str, ...] = (name,)
    keep_ratio = bool(transform.get("keep_ratio")) or _is_shortest_edge(transform)
    longest = transform.get("max_size")
    if _is_shortest_edge(transform):
        if longest is not None:
            names = (name, "max_size")
            options = dict(size_arg=("scale", "max_size"), order="hw")
        else:
            options = dict(order="short")
    drawn: List[Sides] = []
    for each in value if isinstance(value, (list, tuple)) else ():
        sides = _sides(each, "wh")
        if sides is None:
            return SizeUse(RESIZE, None, names, options)
        if keep_ratio:
            sides = (min(sides), max(sides))
        if longest is not None and _is_shortest_edge(transform):
            sides = (sides[0], longest)
        drawn.append(sides)
    return SizeUse(RESIZE, None, names, options, tuple(drawn), is_range, keep_ratio)


def _is_shortest_edge(transform: Mapping) -> bool:
    return "ResizeShortestEdge" in str(transform.get("resize_type", ""))


def _torchvision(transform: Mapping, kind: Kind) -> Optional[SizeUse]:
    if kind.name not in ("Resize", "RandomCrop", "CenterCrop", "RandomResizedCrop"):
        _refuse_size_like(transform, kind)
        return None
    role = CUT if kind.name in ("RandomCrop", "CenterCrop") else RESIZE
    value = transform.get("size")
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    # One number is the short side for torchvision's Resize, a square for its crops.
    short_side = kind.name == "Resize" and not isinstance(value, (list, tuple))
    options = dict(order="short") if short_side else {}
    sides = _sides(value, "hw")
    if sides is None:
        raise ValueError(
            f"torchvision's {kind.name} must have its size as a number of pixels or a "
            f"pair of them, but got size={value!r}"
        )
    return SizeUse(role, sides, ("size",), options)


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and any(
        isinstance(v, (list, tuple)) for v in value
    )


def _sides(value: Any, order: str) -> Optional[Sides]:
    pair = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(pair) != 2 or not all(
        isinstance(side, (int, float)) and not isinstance(side, bool) for side in pair
    ):
        return None
    return (pair[1], pair[0]) if order == "wh" else (pair[0], pair[1])


def _refuse_size_like(
    transform: Mapping, kind: Kind, names: Sequence[str] = _SIZE_LIKE
) -> None:
    for name in names:
        value = transform.get(name)
        sides = value if isinstance(value, (list, tuple)) else [value]
        if sides and all(isinstance(side, int) and side >= 8 for side in sides):
            raise ValueError(
                f"{kind.name}({name}={short(value)}) may set a size, but it is unknown "
                "how it should follow that of the batch; write the config by hand, "
                "with dict(type='MultiScaleTransform', transform=..., size_arg=...)"
            )
