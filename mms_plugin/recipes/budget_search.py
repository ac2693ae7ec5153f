"""Find sizes and a growth whose training costs a given share. Pure arithmetic.

Three phases follow each other: the start sizes up to ``begin``, linear growth up to
``end``, the base size only from there on. What a unit of time costs within each phase
does not depend on where the phases meet, so the cost is linear in both places and they
are solved for, not searched.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from ..multi_scale.curriculum import ResolutionCurriculum
from ..multi_scale.growing_sizes import GrowingSizes
from ..multi_scale.sizes import Size, SizeDistribution, side_length

__all__ = ["BudgetChoice", "CostRates", "best_choice", "size_sets", "solve_growth"]

# The last tenth of the training is at the base size, whatever the budget.
LATEST_END = 0.9

# Choices within half a percent of the most updates count as equal; of them, the one
# that draws from the most sizes is taken.
_EQUAL_UPDATES = 0.005

# Points at which the growth is looked at.
_LOOKS = 400

# More sizes than these are not combined freely, but left out from the smallest up.
_MOST_COMBINED = 8

IterationCost = Callable[[int, int, int], float]
"""Cost of an iteration by height, width and batch size, in any unit."""


class CostRates(NamedTuple):
    """What a unit of a training's time costs, or a mixture of such units.

    Attributes:
        cost: In the unit of :data:`IterationCost`.
        images: Images that are seen.
        updates: Iterations.
    """

    cost: float
    images: float
    updates: float

    def plus(self, other: CostRates, weight: float) -> CostRates:
        """Add ``weight`` units of another mixture."""
        return CostRates(*(a + weight * b for a, b in zip(self, other)))


class BudgetChoice(NamedTuple):
    """Sizes and growth that meet a budget.

    Attributes:
        sizes: ``(height, width)`` in pixels, the base size among them.
        start_sizes: Those drawn from at the start.
        begin: Part of the training after which the sizes grow.
        end: Part of the training from which on only the base size is drawn.
        cost: Share of the cost of a training at the config's own size.
        updates: Share of its iterations.
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
    """Yield ``(sizes, start sizes)`` that a training may be tried with.

    Args:
        sizes: ``(height, width)``; those not below the base size play no part.
        base: The base size, the last of each set.
        fixed: Use all sizes, and vary only those of the start. Defaults to False.
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
        # Two sizes at least to start with, where another set has the smallest only.
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
    looks: int = _LOOKS,
) -> Tuple[Optional[BudgetChoice], float]:
    """Find where the phases must meet for a share of the cost.

    Args:
        schedule: The sizes with their batch sizes and weights; its base size among
            them.
        start_sizes: Those of the start.
        budget: Share of the cost, above 0 and at most 1.
        cost: Of an iteration.
        own: Of a unit of time of the training that is compared with.
        by_images: Whether time is counted in images (a training by epochs) or in
            iterations.
        looks: Points at which the growth is looked at. Defaults to 400.

    Returns:
        The choice, ``None`` where there is none, and the least share that these sizes
        can reach; infinity where they would not grow all the time.
    """
    base = schedule.base_size
    schedule.set_curriculum(
        ResolutionCurriculum("linear", list(start_sizes), 0.0, 1.0, None, False, [base])
    )

    def rates(distribution: SizeDistribution) -> CostRates:
        total = sum(distribution.weights)
        drawn = list(zip(*distribution[:3]))
        images = sum(weight * images for _, images, weight in drawn) / total
        paid = sum(w * cost(*size, images) for size, images, w in drawn) / total
        unit = images if by_images else 1.0
        return CostRates(paid / unit, images / unit, 1.0 / unit)

    known: List[Tuple[SizeDistribution, CostRates]] = []
    growing = CostRates(0.0, 0.0, 0.0)
    for look in range(looks):
        distribution = schedule.distribution((look + 0.5) / looks)
        if not known or known[-1][0] is not distribution:
            known.append((distribution, rates(distribution)))
        growing = growing.plus(known[-1][1], 1.0 / looks)
    first, final = schedule.distribution(0.0), schedule.distribution(1.0)
    if not _ascends([first, *(each for each, _ in known), final]):
        return None, math.inf
    start, last = rates(first), rates(final)

    def mixed(begin: float, end: float) -> CostRates:
        none = CostRates(0.0, 0.0, 0.0)
        return none.plus(start, begin).plus(growing, end - begin).plus(last, 1 - end)

    def excess(mixture: CostRates) -> float:
        """Cost above the budget, for as many images."""
        return mixture.cost - budget * own.cost / own.images * mixture.images

    def share(mixture: CostRates) -> float:
        return mixture.cost / mixture.images / (own.cost / own.images)

    least = share(mixed(LATEST_END, LATEST_END))
    begin, end = 0.0, _root(excess(mixed(0.0, 0.0)), excess(mixed(0.0, 1.0)))
    if end is None or end > LATEST_END:
        end = LATEST_END
        part = _root(excess(mixed(0.0, end)), excess(mixed(end, end)))
        if part is None or part > 1.0:
            return None, least
        begin = part * end
    mixture = mixed(begin, end)
    updates = mixture.updates / mixture.images / (own.updates / own.images)
    choice = BudgetChoice(
        schedule.sizes, tuple(start_sizes), begin, end, share(mixture), updates
    )
    return choice, least


def _ascends(distributions: Sequence[SizeDistribution]) -> bool:
    """Whether the mean side never falls back, as it may between distant sizes."""
    sides = [
        sum(w * side_length(size) for size, w in zip(each.sizes, each.weights))
        / sum(each.weights)
        for each in distributions
    ]
    return all(a <= b + 1e-9 for a, b in zip(sides, sides[1:]))


def best_choice(choices: Sequence[BudgetChoice]) -> BudgetChoice:
    """Return the choice with the most updates; among equals, with the most sizes."""
    most = max(choice.updates for choice in choices)
    equal = [c for c in choices if c.updates >= most * (1 - _EQUAL_UPDATES)]
    return max(equal, key=lambda c: (len(c.sizes), len(c.start_sizes), c.updates))


def _root(at_zero: float, at_one: float) -> Optional[float]:
    """Where a falling line crosses 0, at 0 or later; ``None``: it does not."""
    if at_zero <= 1e-12 * abs(at_one):
        return 0.0
    if at_one >= at_zero:
        return None
    return at_zero / (at_zero - at_one)
