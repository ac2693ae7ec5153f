"""The resolution curriculum: how the set of sizes grows over a training.

Pure functions of the fraction of the training that has passed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any, Callable, Optional, Sequence, Tuple, Union

from .sizes import Size, parse_sizes, side_length

SCHEDULES = ("constant", "linear", "cosine", "step")

# For floating point: a size joins at its time, not an epoch after.
_TOLERANCE = 1e-9

# At how many points a callable is tried out at construction.
_PROBES = 64


class ResolutionCurriculum:
    """How far the sizes have grown after a fraction of the training.

    The smallest and the largest size move from those of ``start_sizes`` to those of
    ``end_sizes``, as in CoreNet (arXiv 2309.04502, section 3.2); drawn are the
    sampler's sizes between the two. Sides are compared by ``sqrt(height * width)``.

    Args:
        schedule: Over the stretch from ``begin`` to ``end``, ``'linear'`` grows the
            sides evenly, ``'cosine'`` by half a cosine (slow, fast, slow), ``'step'``
            by equal steps at ``milestones``; ``'constant'`` does not grow: the
            end's sizes from the first iteration on. A callable maps the part of
            the stretch that has passed, 0 to 1, to the growth, 0 to 1; it is tried
            out at construction.
        start_sizes: Sizes drawn from at the start, ints or ``(height, width)``, or a
            range dict. ``None``: the smallest quarter of the sampler's sizes, rounded
            up.
        begin: Fraction of the training until which nothing grows.
        end: Fraction of the training from which on ``end_sizes`` are drawn.
        milestones: For ``'step'``: fractions of the training, ascending. ``None``
            puts four at even distances from ``begin`` to ``end``.
        by_epoch: Look the sizes up at each epoch's start only. ``False``: within the
            epoch too.
        end_sizes: Sizes drawn from at the end, as ``start_sizes``. ``None``: the
            sampler's, all of them.
    """

    def __init__(
        self,
        schedule: Union[str, Callable[[float], float]] = "linear",
        start_sizes: Any = None,
        begin: float = 0.0,
        end: float = 0.8,
        milestones: Optional[Sequence[float]] = None,
        by_epoch: bool = True,
        end_sizes: Any = None,
    ) -> None:
        if not callable(schedule) and schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {list(SCHEDULES)} or a callable from [0, 1] "
                f"to [0, 1], but got {schedule!r}"
            )
        for name, value in (("begin", begin), ("end", end)):
            if not _is_fraction(value):
                raise ValueError(
                    f"{name} must be a fraction of the training, from 0 to 1, "
                    f"but got {value!r}"
                )
        if begin > end:
            raise ValueError(
                f"begin must not lie after end, but got begin={begin!r}, end={end!r}"
            )
        if milestones is not None and schedule != "step":
            raise ValueError(
                "milestones belong to schedule='step', but got "
                f"milestones={milestones!r} with schedule={schedule!r}"
            )
        if schedule == "step":
            if milestones is None:
                milestones = [begin + (end - begin) * i / 4 for i in range(1, 5)]
            milestones = _parse_milestones(milestones)
        self.schedule = schedule
        self.start_sizes = (
            None if start_sizes is None else parse_sizes(start_sizes, "start_sizes")
        )
        self.end_sizes = (
            None if end_sizes is None else parse_sizes(end_sizes, "end_sizes")
        )
        self.begin = float(begin)
        self.end = float(end)
        self.milestones = milestones
        self.by_epoch = bool(by_epoch)
        if callable(schedule):
            # Wrong values shall show now, not in the middle of a training.
            for probe in range(_PROBES):
                self._called(probe / _PROBES)

    def growth(self, fraction: float) -> float:
        """Growth, 0 (``start_sizes``) to 1 (``end_sizes``), after ``fraction`` of it.

        Args:
            fraction: Part of the training that has passed, 0 to 1.
        """
        if self.schedule == "constant":
            return 1.0
        if self.schedule == "step":
            assert self.milestones is not None
            steps = bisect_right(self.milestones, fraction + _TOLERANCE)
            return steps / len(self.milestones)
        if fraction >= self.end - _TOLERANCE:
            return 1.0
        passed = 0.0
        if fraction > self.begin:
            passed = (fraction - self.begin) / (self.end - self.begin)
        if self.schedule == "linear":
            return passed
        if self.schedule == "cosine":
            return (1.0 - math.cos(math.pi * passed)) / 2.0
        return self._called(passed)

    def _called(self, passed: float) -> float:
        assert callable(self.schedule)
        growth = self.schedule(passed)
        if not _is_fraction(growth):
            raise ValueError(
                "schedule as a callable must return the growth, a number from 0 to 1, "
                f"but got {growth!r} for {passed!r}"
            )
        return float(growth)

    def resolve_start_sizes(self, sizes: Sequence[Size]) -> Tuple[Size, ...]:
        """The start sizes for a sampler of ``sizes``, checked against its range."""
        if self.start_sizes is None:
            ordered = sorted(sizes, key=side_length)
            return tuple(ordered[: math.ceil(len(ordered) / 4)])
        return _within(self.start_sizes, sizes, "start_sizes")

    def resolve_end_sizes(self, sizes: Sequence[Size]) -> Tuple[Size, ...]:
        """The end sizes for a sampler of ``sizes``, checked against its range."""
        if self.end_sizes is None:
            return tuple(sizes)
        return _within(self.end_sizes, sizes, "end_sizes")


def _within(
    chosen: Tuple[Size, ...], sizes: Sequence[Size], name: str
) -> Tuple[Size, ...]:
    ordered = sorted(sizes, key=side_length)
    low, high = side_length(ordered[0]), side_length(ordered[-1])
    for size in chosen:
        if not low - _TOLERANCE <= side_length(size) <= high + _TOLERANCE:
            raise ValueError(
                f"{name} must lie within the sampler's sizes, from {ordered[0]} to "
                f"{ordered[-1]}, but got {size}"
            )
    return chosen


def grown_sizes(
    sizes: Sequence[Size],
    start_sizes: Sequence[Size],
    growth: float,
    end_sizes: Optional[Sequence[Size]] = None,
) -> Tuple[Size, ...]:
    """The sizes that are drawn from at a growth between 0 and 1.

    Args:
        sizes: The sampler's own, ``(height, width)``, in any order.
        start_sizes: Those of the start.
        growth: 0 gives ``start_sizes``, 1 gives ``end_sizes``. Between them, those of
            ``sizes`` whose side lies between the grown smallest and largest side;
            where there is none, the largest below, start sizes included.
        end_sizes: Those of the end. ``None``: ``sizes``.
    """
    end_sizes = sizes if end_sizes is None else end_sizes
    if growth <= 0.0:
        return tuple(start_sizes)
    if growth >= 1.0:
        return tuple(end_sizes)
    start, final = side_range(start_sizes), side_range(end_sizes)
    low, high = grown_range(start, final, growth)
    grown = tuple(s for s in sizes if low <= side_length(s) <= high)
    if grown:
        return grown
    below = [s for s in sizes if start[1] < side_length(s) <= high]
    return (max(below, key=side_length),) if below else tuple(start_sizes)


def side_range(sizes: Sequence[Size]) -> Tuple[float, float]:
    """The smallest and the largest side in pixels."""
    sides = [side_length(size) for size in sizes]
    return min(sides), max(sides)


def grown_range(
    start: Tuple[float, float], end: Tuple[float, float], growth: float
) -> Tuple[float, float]:
    """Between which sides in pixels the sizes lie at a growth between 0 and 1.

    Args:
        start: :func:`side_range` of the start.
        end: And of the end.
        growth: How far it has gone from the one to the other.
    """
    return (
        start[0] + (end[0] - start[0]) * growth - _TOLERANCE,
        start[1] + (end[1] - start[1]) * growth + _TOLERANCE,
    )


def _is_fraction(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and 0.0 <= float(value) <= 1.0
    except (TypeError, ValueError):
        return False


def _parse_milestones(value: Any) -> Tuple[float, ...]:
    wrong = ValueError(
        "milestones for schedule='step' must be ascending fractions of the training, "
        f"from 0 to 1, at least one, such as [0.2, 0.5, 0.8], but got {value!r}"
    )
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or not value:
        raise wrong
    if not all(_is_fraction(v) for v in value):
        raise wrong
    milestones = tuple(float(v) for v in value)
    if any(a >= b for a, b in zip(milestones, milestones[1:])):
        raise wrong
    return milestones
