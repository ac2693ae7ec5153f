"""Check sizes, batch sizes, weights and cost models that users write.

Pure functions that return plain tuples.
"""

from __future__ import annotations

import math
from fractions import Fraction
from numbers import Rational
from typing import (
    Any,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

import numpy as np

from ..utils.validation import is_integer, parse_int

Size = Tuple[int, int]
"""A resolution in pixels, ``(height, width)``."""

TARGET_SIZE = "target_size"
"""Key of a sample under which it holds the ``(height, width)`` of its batch."""


def size_text(size: Size) -> str:
    """Return a resolution as messages and commands have it, ``'224x320'``."""
    return f"{size[0]}x{size[1]}"


def short_size(size: Size) -> Union[int, Size]:
    """Return a resolution as configs have it: the side, if it is a square."""
    return size[0] if size[0] == size[1] else size


def ordered_sizes(sizes: Iterable[Size]) -> List[Size]:
    """Return sizes from few to many pixels; of as many pixels, the lower ones first."""
    return sorted(sizes, key=lambda size: (size[0] * size[1], size))


class SizeDistribution(NamedTuple):
    """The resolutions that an iteration draws from.

    Attributes:
        sizes: The resolutions, ``(height, width)`` in pixels.
        batch_sizes: Images of a full batch at each size, per rank.
        weights: Relative frequency of each size, by iterations; all positive.
    """

    sizes: Tuple[Size, ...]
    batch_sizes: Tuple[int, ...]
    weights: Tuple[float, ...]

    @property
    def mean_batch_size(self) -> float:
        """Images of an iteration on average, per rank."""
        images = sum(w * b for w, b in zip(self.weights, self.batch_sizes))
        return images / sum(self.weights)


def parse_size(value: Any, name: str) -> Size:
    """Parse one resolution.

    Args:
        value: A side in pixels (a square), or ``(height, width)``.
        name: The argument's name, for the error.

    Returns:
        ``(height, width)``.

    Raises:
        ValueError: ``value`` is not valid.
    """
    sides = value if isinstance(value, (list, tuple)) else (value, value)
    if len(sides) != 2 or not all(is_integer(s) and s >= 1 for s in sides):
        raise ValueError(
            f"{name} must be an integer of at least 1 (a square) or a pair "
            f"(height, width) of such integers, but got {value!r}"
        )
    return int(sides[0]), int(sides[1])


def side_length(size: Size) -> float:
    """Return the side of the square with as many pixels, by which sizes are ordered."""
    return math.sqrt(size[0] * size[1])


def parse_sizes(value: Any, name: str = "sizes") -> Tuple[Size, ...]:
    """Parse a list or a range of resolutions.

    Args:
        value: A sequence of sides or ``(height, width)``, or a range
            ``dict(min=..., max=..., num=..., divisor=32)``: ``num`` sizes at equal
            steps from ``min`` to ``max``, each rounded to the nearest multiple of
            ``divisor`` between the two; without ``num``, every such multiple.
        name: The argument's name, for the error. Defaults to ``'sizes'``.

    Returns:
        The sizes as ``(height, width)``, in the order given.

    Raises:
        ValueError: ``value`` is not valid.
    """
    if isinstance(value, Mapping):
        return _parse_range(value, name)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        raise ValueError(
            f"{name} must be a sequence of at least one size, such as [128, 160], or "
            f"a range such as dict(min=128, max=320, num=7), but got {value!r}"
        )
    sizes = tuple(parse_size(v, f"{name}[{i}]") for i, v in enumerate(value))
    for i, size in enumerate(sizes):
        if size in sizes[:i]:
            raise ValueError(
                f"{name} must name each size once, but got {size} twice in {value!r}; "
                "use `weights` to draw a size more often"
            )
    return sizes


def _parse_range(value: Mapping, name: str) -> Tuple[Size, ...]:
    unknown = sorted(set(value) - {"min", "max", "num", "divisor"})
    missing = sorted({"min", "max"} - set(value))
    if unknown or missing:
        wrong = f"unknown {unknown}" if unknown else f"no {missing}"
        raise ValueError(
            f"{name} as a range must be dict(min=..., max=..., num=..., divisor=...), "
            f"of which min and max are required, but got {wrong} in {dict(value)!r}"
        )
    low = parse_size(value["min"], f"{name}['min']")
    high = parse_size(value["max"], f"{name}['max']")
    divisor = parse_int(value.get("divisor", 32), f"{name}['divisor']")
    if low[0] > high[0] or low[1] > high[1]:
        raise ValueError(
            f"{name} as a range must have min <= max, "
            f"but got min={value['min']!r} and max={value['max']!r}"
        )
    # The first and the last multiple of the divisor on each axis.
    multiples = [(-(-low[i] // divisor), high[i] // divisor) for i in (0, 1)]
    given = value.get("num")
    num = max(1, *(last - first + 1 for first, last in multiples))
    if given is not None:
        num = parse_int(given, f"{name}['num']")
    sides: List[List[int]] = []
    for i, axis in enumerate(("height", "width")):
        first, last = multiples[i]
        if first > last:
            raise ValueError(
                f"{name} as a range must hold a multiple of its divisor, but no "
                f"{axis} from {low[i]} to {high[i]} is a multiple of {divisor}"
            )
        ends = (low[i], high[i])
        if given is None:  # then both ends are multiples, and so is all between
            ends = (first * divisor, last * divisor)
        # Round half a step up; NumPy would round it to even.
        steps = np.floor(np.linspace(*ends, num) / divisor + 0.5)
        sides.append((np.clip(steps, first, last) * divisor).astype(int).tolist())
    return tuple(dict.fromkeys(zip(sides[0], sides[1])))


def pixel_budget_batch_size(batch_size: int, base_size: Size, size: Size) -> int:
    """Return how many images at ``size`` have the pixels of a batch at ``base_size``.

    ``max(1, floor(B * H * W / (h * w)))`` of arXiv 2309.04502, section 3, in integers.

    Args:
        batch_size: Images per rank at ``base_size``.
        base_size: ``(height, width)`` in pixels.
        size: ``(height, width)`` in pixels.
    """
    budget = batch_size * base_size[0] * base_size[1]
    return max(1, budget // (size[0] * size[1]))


class CostModel(NamedTuple):
    """The cost of one image of a batch: ``alpha * height * width + beta``.

    Batch sizes depend only on the ratio of the two.

    Attributes:
        alpha: Cost of a pixel, in any unit, positive.
        beta: Cost of an image of any size, such as that of its RoIs, in the same unit.
    """

    alpha: Fraction = Fraction(1)
    beta: Fraction = Fraction(0)

    def cost(self, size: Size) -> Fraction:
        """Return the cost of one image at ``(height, width)`` in pixels."""
        return self.alpha * size[0] * size[1] + self.beta


def cost_model_batch_size(
    batch_size: int, base_size: Size, size: Size, cost_model: CostModel
) -> int:
    """Return how many images at ``size`` cost what a batch at ``base_size`` costs.

    ``max(1, floor(B * cost(H, W) / cost(h, w)))``, exactly. With ``beta=0`` it equals
    :func:`pixel_budget_batch_size`; it approaches ``B`` as ``beta`` grows.

    Args:
        batch_size: Images per rank at ``base_size``.
        base_size: ``(height, width)`` in pixels.
        size: ``(height, width)`` in pixels.
        cost_model: The cost of one image.
    """
    budget = batch_size * cost_model.cost(base_size)
    return max(1, math.floor(budget / cost_model.cost(size)))


def parse_cost_model(value: Any) -> Optional[CostModel]:
    """Parse ``dict(alpha=1.0, beta=0.0)``; ``None`` stays ``None``.

    A float counts as the decimal number that is written, so that
    ``dict(alpha=0.1, beta=409.6)`` and ``dict(alpha=1, beta=4096)`` are the same.

    Raises:
        ValueError: ``value`` is not valid.
    """
    if value is None or isinstance(value, CostModel):
        return value
    if not isinstance(value, Mapping) or set(value) - {"alpha", "beta"}:
        raise ValueError(
            "cost_model must be dict(alpha=..., beta=...), an image's cost being "
            f"alpha * height * width + beta, but got {value!r}"
        )
    alpha = _exact(value.get("alpha", 1))
    beta = _exact(value.get("beta", 0))
    if alpha is None or alpha <= 0:
        raise ValueError(
            "cost_model['alpha'], the cost of a pixel, must be a finite number "
            f"above 0, but got {value['alpha']!r}"
        )
    if beta is None or beta < 0:
        raise ValueError(
            "cost_model['beta'], the fixed cost of an image, must "
            f"be a finite number of at least 0, but got {value['beta']!r}"
        )
    return CostModel(alpha, beta)


def _exact(value: Any) -> Optional[Fraction]:
    """Return a number as a fraction; ``None`` if it is not a finite number."""
    if isinstance(value, Rational) and not isinstance(value, bool):
        return Fraction(value)
    if is_integer(value):
        return Fraction(int(value))
    if not isinstance(value, (float, np.floating)) or not math.isfinite(value):
        return None
    return Fraction(repr(float(value)))


def parse_weights(value: Any, num_sizes: int) -> Tuple[float, ...]:
    """Parse the relative frequencies of the sizes; ``None`` is uniform.

    Raises:
        ValueError: ``value`` is not valid.
    """
    if value is None:
        return (1.0,) * num_sizes
    wrong = ValueError(
        f"weights must be one number of at least 0 per size ({num_sizes} sizes), "
        f"finite and not all zero, but got {value!r}"
    )
    try:
        weights = () if isinstance(value, Mapping) else tuple(float(v) for v in value)
    except (TypeError, ValueError):
        raise wrong from None
    if (
        len(weights) != num_sizes
        or not all(math.isfinite(w) and w >= 0 for w in weights)
        or not any(weights)
    ):
        raise wrong
    return weights


def parse_batch_sizes(value: Any, num_sizes: int) -> Optional[Tuple[int, ...]]:
    """Parse the batch size of each size; ``None`` stays ``None``.

    Raises:
        ValueError: ``value`` is not valid.
    """
    if value is None:
        return None
    if (
        isinstance(value, (str, bytes))
        or not isinstance(value, (Sequence, np.ndarray))
        or len(value) != num_sizes
        or not all(is_integer(v) and v >= 1 for v in value)
    ):
        raise ValueError(
            "batch_sizes must be one integer of at least 1 per size "
            f"({num_sizes} sizes), but got {value!r}"
        )
    return tuple(int(v) for v in value)
