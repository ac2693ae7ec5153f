"""The resolution curriculum: which sizes are drawn from at each time of a training.

Pure functions of the fraction of the training that has passed.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any, Callable, Optional, Sequence, Tuple, Union

from mmengine.utils import get_object_from_string

from ..utils.validation import is_number, parse_bool
from .sizes import Size, parse_sizes, side_length

SCHEDULES = ("constant", "linear", "cosine", "step")

# Rounding errors must not delay a size to the next epoch.
_TOLERANCE = 1e-9

# Number of points at which a callable is checked at construction.
_PROBES = 64


class ResolutionCurriculum:
    """Give the growth of the sizes after a fraction of the training.

    The smallest and the largest size move from those of ``start_sizes`` to those of
    ``end_sizes``, as in CoreNet (arXiv 2309.04502, section 3.2). The sampler draws
    from its sizes between the two. Sizes are ordered by ``sqrt(height * width)``.

    Args:
        schedule: How the sides grow from ``begin`` to ``end``: ``'linear'`` evenly,
            ``'cosine'`` by half a cosine (slow, fast, slow), ``'step'`` by equal steps
            at ``milestones``. ``'constant'`` draws from the end sizes from the first
            iteration on. A callable maps the fraction of the time from ``begin`` to
            ``end`` that has passed, 0 to 1, to the growth, 0 to 1; it is checked at
            construction. In a config, whose text MMEngine writes into the work dir, it
            is named, as ``'my_package.my_module.growth'``. Defaults to ``'linear'``.
        start_sizes: Sizes drawn from at the start, ints or ``(height, width)``, or a
            range dict. Defaults to the smallest quarter of the sampler's sizes,
            rounded up.
        begin: Fraction of the training at which the sizes begin to grow. Defaults to
            0.0.
        end: Fraction of the training from which ``end_sizes`` are used. Defaults
            to 0.8.
        milestones: For ``'step'``: ascending fractions of the training. Defaults to
            four at even distances from ``begin`` to ``end``.
        by_epoch: Change the sizes only when an epoch begins. ``False``: within the
            epoch too. Defaults to ``True``.
        end_sizes: Sizes drawn from at the end, as ``start_sizes``. Defaults to all
            sizes of the sampler.

    Raises:
        ValueError: An argument is not valid.
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
        if isinstance(schedule, str) and "." in schedule:
            named = get_object_from_string(schedule)
            schedule = named if callable(named) else schedule
        if not callable(schedule) and schedule not in SCHEDULES:
            raise ValueError(
                f"schedule must be one of {list(SCHEDULES)}, or a callable from [0, 1] "
                "to [0, 1] or its name, such as 'my_package.my_module.growth', but got "
                f"{schedule!r}"
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
        self.by_epoch = parse_bool(by_epoch, "by_epoch")
        if callable(schedule):
            # Find wrong values now, not in the middle of a training.
            for probe in range(_PROBES):
                self._call_schedule(probe / _PROBES)

    def growth(self, fraction: float) -> float:
        """Return the growth, from 0 (``start_sizes``) to 1 (``end_sizes``).

        Args:
            fraction: Fraction of the training that has passed, 0 to 1.
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
        return self._call_schedule(passed)

    def _call_schedule(self, passed: float) -> float:
        assert callable(self.schedule)
        growth = self.schedule(passed)
        growth = growth.item() if hasattr(growth, "item") else growth  # a tensor's
        if not _is_fraction(growth):
            raise ValueError(
                "schedule as a callable must return the growth, a number from 0 to 1, "
                f"but got {growth!r} for {passed!r}"
            )
        return float(growth)

    def resolve_start_sizes(self, sizes: Sequence[Size]) -> Tuple[Size, ...]:
        """Return the start sizes for a sampler's ``sizes``.

        Raises:
            ValueError: They lie outside the range of ``sizes``.
        """
        if self.start_sizes is None:
            ordered = sorted(sizes, key=side_length)
            return tuple(ordered[: math.ceil(len(ordered) / 4)])
        return _check_within(self.start_sizes, sizes, "start_sizes")

    def resolve_end_sizes(self, sizes: Sequence[Size]) -> Tuple[Size, ...]:
        """Return the end sizes for a sampler's ``sizes``.

        Raises:
            ValueError: They lie outside the range of ``sizes``.
        """
        if self.end_sizes is None:
            return tuple(sizes)
        return _check_within(self.end_sizes, sizes, "end_sizes")


def _check_within(
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
    """Return the sizes that are drawn from at a growth between 0 and 1.

    Args:
        sizes: All sizes of the sampler, ``(height, width)``, in any order.
        start_sizes: The sizes at growth 0.
        growth: 0 gives ``start_sizes``, 1 gives ``end_sizes``. Between the two: those
            of ``sizes`` whose side lies in the :func:`grown_range`; if there is none,
            those of ``start_sizes``; if there is none either, the last size that was
            reached: the largest below, or the smallest above where the sizes shrink.
        end_sizes: The sizes at growth 1. Defaults to ``sizes``.
    """
    end_sizes = sizes if end_sizes is None else end_sizes
    if growth <= 0.0:
        return tuple(start_sizes)
    if growth >= 1.0:
        return tuple(end_sizes)
    start, final = side_range(start_sizes), side_range(end_sizes)
    low, high = grown_range(start, final, growth)
    for known in (sizes, start_sizes):
        grown = tuple(s for s in known if low <= side_length(s) <= high)
        if grown:
            return grown
    known = (*start_sizes, *sizes)
    if sum(final) >= sum(start):
        reached = [s for s in known if side_length(s) <= high]
        return (max(reached, key=side_length),) if reached else tuple(start_sizes)
    reached = [s for s in known if side_length(s) >= low]
    return (min(reached, key=side_length),) if reached else tuple(start_sizes)


def side_range(sizes: Sequence[Size]) -> Tuple[float, float]:
    """Return the smallest and the largest side in pixels."""
    sides = [side_length(size) for size in sizes]
    return min(sides), max(sides)


def grown_range(
    start: Tuple[float, float], end: Tuple[float, float], growth: float
) -> Tuple[float, float]:
    """Return the smallest and the largest side in pixels at a growth.

    Args:
        start: :func:`side_range` of the start sizes.
        end: :func:`side_range` of the end sizes.
        growth: From 0 to 1.
    """
    return (
        start[0] + (end[0] - start[0]) * growth - _TOLERANCE,
        start[1] + (end[1] - start[1]) * growth + _TOLERANCE,
    )


def _is_fraction(value: Any) -> bool:
    return is_number(value) and 0.0 <= value <= 1.0


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
