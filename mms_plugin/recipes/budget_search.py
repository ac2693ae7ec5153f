"""Find sizes and a growth whose training has a given cost. Pure functions.

The training has three phases: the start sizes until ``begin``, linear growth until
``end``, and then only the base size. The mean cost per unit of time within a phase does
not depend on ``begin`` and ``end``. So the total cost is linear in both, and no search
is needed to find them.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..multi_scale.curriculum import ResolutionCurriculum
from ..multi_scale.growing_sizes import GrowingSizes
from ..multi_scale.sizes import Size, SizeDistribution, side_length

__all__ = [
    "LATEST_END",
    "BudgetChoice",
    "CostRates",
    "best_choice",
    "size_sets",
    "solve_growth",
]

LATEST_END = 0.9
"""Latest end of the growth: at least the last tenth is at the base size."""

# Choices within half a percent of the most updates count as equal. Of these, the one
# with the most sizes is taken.
_EQUAL_UPDATES = 0.005

# Points of the growth over which its cost is averaged.
_POINTS = 400

# With more sizes than this, not all subsets are tried: only the smallest are omitted.
_MOST_COMBINED = 8

IterationCost = Callable[[int, int, int], float]
"""Map height, width and batch size to the cost of an iteration, in any unit."""


class CostRates(NamedTuple):
    """Cost, images and updates per unit of training time.

    Attributes:
        cost: Cost, in the unit of :data:`IterationCost`.
        images: Number of images seen.
        updates: Number of iterations.
    """

    cost: float
    images: float
    updates: float

    def plus(self, other: CostRates, weight: float) -> CostRates:
        """Return the sum with ``weight`` times another."""
        return CostRates(*(a + weight * b for a, b in zip(self, other)))


class BudgetChoice(NamedTuple):
    """Sizes and growth that meet a budget.

    Attributes:
        sizes: ``(height, width)`` in pixels, the base size among them.
        start_sizes: Sizes drawn from at the start.
        begin: Fraction of the training at which the sizes begin to grow.
        end: Fraction of the training from which only the base size is drawn.
        cost: Cost, as a share of that of the original training.
        updates: Iterations, as a share of those of the original training.
    """

    sizes: Tuple[Size, ...]
    start_sizes: Tuple[Size, ...]
    begin: float
    end: float
    cost: float
    updates: float


def size_sets(
    sizes: Sequence[Size], base: Size, fixed: bool = False
) -> Iterator[Tuple[Tuple[Size, ...], Tuple[Size, ...]]]:
    """Yield the pairs ``(sizes, start_sizes)`` to try.

    Args:
        sizes: ``(height, width)`` in pixels. Only sizes below the base size are used.
        base: The base size, which is the last of each set.
        fixed: Use all sizes and vary only the start sizes. Defaults to False.
    """
    below = sorted(
        (size for size in sizes if side_length(size) < side_length(base)),
        key=side_length,
    )
    subsets: List[Tuple[Size, ...]] = []
    if fixed:
        subsets = [tuple(below)] if below else []
    elif len(below) > _MOST_COMBINED:
        subsets = [tuple(below[first:]) for first in range(len(below))]
    else:
        for number in range(1, len(below) + 1):
            subsets += list(combinations(below, number))
    for subset in subsets:
        every = (*subset, base)
        # Start with at least two sizes: smaller sets cover starting with one.
        fewest = 1 if fixed else min(2, len(subset))
        for number in range(fewest, len(every) + 1):
            yield every, every[:number]


def solve_growth(
    schedule: GrowingSizes,
    start_sizes: Sequence[Size],
    budget: float,
    cost: IterationCost,
    own: CostRates,
    by_images: bool,
) -> Tuple[Optional[BudgetChoice], float]:
    """Find the begin and end of the growth that meet a budget.

    Args:
        schedule: Sizes with their batch sizes and weights. Includes its base size.
        start_sizes: Sizes drawn from at the start.
        budget: Share of the cost, above 0 and at most 1.
        cost: Cost of an iteration.
        own: Cost, images and updates per unit of time of the original training.
        by_images: Count time in images, as for a training by epochs. Otherwise time is
            counted in iterations.

    Returns:
        The choice, or ``None`` if there is none; and the lowest share of the cost that
        these sizes can reach, or infinity if the mean size would shrink at some time.
    """
    base = schedule.base_size
    schedule.set_curriculum(
        ResolutionCurriculum("linear", list(start_sizes), 0.0, 1.0, None, False, [base])
    )
    phases = _phases(schedule, cost, by_images)
    if phases is None:
        return None, math.inf

    def excess(mixture: CostRates) -> float:
        """Return the cost above the budget for the same number of images."""
        return mixture.cost - budget * own.cost / own.images * mixture.images

    def share(mixture: CostRates) -> float:
        return mixture.cost / mixture.images / (own.cost / own.images)

    least = share(phases.mixed(LATEST_END, LATEST_END))
    begin = 0.0
    end = _root(excess(phases.mixed(0.0, 0.0)), excess(phases.mixed(0.0, 1.0)))
    if end is None or end > LATEST_END:
        end = LATEST_END
        part = _root(excess(phases.mixed(0.0, end)), excess(phases.mixed(end, end)))
        if part is None or part > 1.0:
            return None, least
        begin = part * end
    mixture = phases.mixed(begin, end)
    updates = mixture.updates / mixture.images / (own.updates / own.images)
    choice = BudgetChoice(
        schedule.sizes, tuple(start_sizes), begin, end, share(mixture), updates
    )
    return choice, least


class _Phases(NamedTuple):
    """Rates at the start sizes, while the sizes grow, and at the base size."""

    start: CostRates
    growing: CostRates
    last: CostRates

    def mixed(self, begin: float, end: float) -> CostRates:
        """Return the mean rates of a training that grows from begin to end."""
        none = CostRates(0.0, 0.0, 0.0)
        grown = none.plus(self.start, begin).plus(self.growing, end - begin)
        return grown.plus(self.last, 1 - end)


def _phases(
    schedule: GrowingSizes, cost: IterationCost, by_images: bool
) -> Optional[_Phases]:
    """Return the rates of a growth over the whole training; ``None`` if it shrinks."""

    def rates(distribution: SizeDistribution) -> CostRates:
        total = sum(distribution.weights)
        drawn = list(zip(*distribution[:3]))
        images = sum(weight * images for _, images, weight in drawn) / total
        paid = sum(w * cost(*size, images) for size, images, w in drawn) / total
        unit = images if by_images else 1.0
        return CostRates(paid / unit, images / unit, 1.0 / unit)

    known: List[Tuple[SizeDistribution, CostRates]] = []
    growing = CostRates(0.0, 0.0, 0.0)
    for point in range(_POINTS):
        distribution = schedule.distribution((point + 0.5) / _POINTS)
        if not known or known[-1][0] is not distribution:
            known.append((distribution, rates(distribution)))
        growing = growing.plus(known[-1][1], 1.0 / _POINTS)
    first, final = schedule.distribution(0.0), schedule.distribution(1.0)
    if not _ascends([first, *(each for each, _ in known), final]):
        return None
    return _Phases(rates(first), growing, rates(final))


def _ascends(distributions: Sequence[SizeDistribution]) -> bool:
    """Return whether the mean side never shrinks, as it may between distant sizes."""
    sides = [
        sum(w * side_length(size) for size, w in zip(each.sizes, each.weights))
        / sum(each.weights)
        for each in distributions
    ]
    return all(a <= b + 1e-9 for a, b in zip(sides, sides[1:]))


def best_choice(choices: Sequence[BudgetChoice]) -> BudgetChoice:
    """Return the choice with the most updates; if equal, the one with more sizes."""
    most = max(choice.updates for choice in choices)
    equal = [c for c in choices if c.updates >= most * (1 - _EQUAL_UPDATES)]
    return max(equal, key=lambda c: (len(c.sizes), len(c.start_sizes), c.updates))


def _root(at_zero: float, at_one: float) -> Optional[float]:
    """Return where a falling line crosses zero, at least 0; ``None`` if it rises."""
    if at_zero <= 1e-12 * abs(at_one):
        return 0.0
    if at_one >= at_zero:
        return None
    return at_zero / (at_zero - at_one)
