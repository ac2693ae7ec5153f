"""Choose sizes around a base size. Pure functions."""

from __future__ import annotations

import math
from typing import List, Tuple

from ..multi_scale.sizes import Size, ordered_sizes

# Smallest and largest size relative to the base, and the number of sizes, as in the
# recipes of arXiv 2309.04502: 128 to 320 around 224 (ImageNet), 512 to 1280 around 1024
# (COCO).
CLASSIFICATION = (4 / 7, 10 / 7, 7)
DENSE = (1 / 2, 5 / 4, 10)

# Networks for images with shorter sides than this have a smaller stride.
_SMALL_SIDE = 128
_SMALL_DIVISOR, _DIVISOR = 8, 32


def default_sizes(
    base_size: Size, dense: bool = False, pad_size_divisor: int = 1
) -> Tuple[Size, ...]:
    """Return sizes around a base size as the published recipes choose them.

    Short sides are multiples of 32 (of 8 if the short side of the base is below 128)
    and of ``pad_size_divisor``. The base size replaces the size nearest to it. All
    sizes have its aspect ratio: long sides are rounded to the same multiples if the
    long side of the base is one, otherwise to whole pixels.

    Args:
        base_size: ``(height, width)`` in pixels.
        dense: Detection or segmentation: ten sizes from 1/2 to 5/4 of the base.
            Otherwise seven from 4/7 to 10/7. There are fewer where several round to the
            same multiple. Defaults to False.
        pad_size_divisor: ``pad_size_divisor`` of the data preprocessor. Defaults to 1.

    Returns:
        ``(height, width)`` in pixels, ascending, including the base size.
    """
    low, high, num = DENSE if dense else CLASSIFICATION
    short = min(base_size)
    return _laid_out(base_size, short * low, short * high, num, pad_size_divisor)


def sizes_of_range(
    base_size: Size, low: float, high: float, pad_size_divisor: int = 1
) -> Tuple[Size, ...]:
    """Return sizes within a range of short sides.

    Args:
        base_size: ``(height, width)`` in pixels. All sizes have its aspect ratio.
        low: Smallest short side in pixels.
        high: Largest short side in pixels.
        pad_size_divisor: ``pad_size_divisor`` of the data preprocessor. Defaults to 1.

    Returns:
        At most ten sizes, rounded as by :func:`default_sizes`. The base size is
        included if it lies within the range.
    """
    sizes = _laid_out(base_size, low, high, DENSE[2], pad_size_divisor)
    return tuple(size for size in sizes if low <= min(size) <= high) or (base_size,)


def scaled_to_side(base_size: Size, side: int) -> Size:
    """Return the size with a given short side and the base size's aspect ratio."""
    short, long = min(base_size), max(base_size)
    other = max(math.floor(side * long / short + 0.5), side)
    return (other, side) if base_size[0] > base_size[1] else (side, other)


def _laid_out(
    base_size: Size, low: float, high: float, num: int, pad_size_divisor: int
) -> Tuple[Size, ...]:
    short, long = min(base_size), max(base_size)
    divisor = math.lcm(
        _DIVISOR if short >= _SMALL_SIDE else _SMALL_DIVISOR, pad_size_divisor
    )
    first, last = math.ceil(low / divisor), math.floor(high / divisor)
    sides: List[int] = []
    for i in range(num):
        side = low + (high - low) * i / (num - 1)
        # Round to the nearest multiple within the range.
        step = min(max(math.floor(side / divisor + 0.5), first), last)
        if step >= 1 and step * divisor not in sides:
            sides.append(step * divisor)
    if sides and low <= short <= high:
        del sides[min(range(len(sides)), key=lambda i: abs(sides[i] - short))]
    sizes = [base_size]
    for side in sides:
        other = side * long / short
        unit = divisor if long % divisor == 0 else 1
        other = max(math.floor(other / unit + 0.5) * unit, side)
        portrait = base_size[0] > base_size[1]
        sizes.append((int(other), side) if portrait else (side, int(other)))
    return tuple(ordered_sizes(sizes))
