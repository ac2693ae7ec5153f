"""The plan of an epoch: the resolution and the number of images of each iteration.

Pure functions of the seed, the epoch, the number of samples and what may be drawn.
They know no dataset and no process group: every rank gets the same sizes.

The number of iterations is fixed before any draw: ``ceil(N / mean batch size)``. So an
epoch's length is known without planning it, and epochs that draw from the same sizes
are equally long. Each size then gets its share of the iterations, rounded up or down at
random, in random order. A few draws are exchanged for others where the batches would
not hold exactly the epoch's images; later epochs compensate for it, so that over a
training the shares are those of the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np

from .sizes import Size, SizeDistribution

# Endless streams are drawn in blocks, so that any iteration is found directly.
STREAM_BLOCK = 256

# The largest deficit of iterations that a size carries to the next epoch.
_LARGEST_DEFICIT = 2.0

_EPOCH_DRAWS = 0
_STREAM_DRAWS = 1


@dataclass(frozen=True)
class Plan:
    """The iterations of an epoch, or of a part of an endless stream.

    Attributes:
        sizes: The resolutions that occur, ``(height, width)`` in pixels.
        choices: Shape ``(iterations,)``: position in ``sizes`` for each iteration.
        batch_sizes: Shape ``(iterations,)``: images of each iteration, per rank.
    """

    sizes: Tuple[Size, ...]
    choices: np.ndarray
    batch_sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.choices)

    def at(self, position: int) -> Tuple[int, int, int]:
        """Return ``(height, width, batch_size)`` of one iteration.

        Raises:
            IndexError: The plan has no such position.
        """
        if not 0 <= position < len(self):
            raise IndexError(
                f"position must be from 0 to {len(self) - 1}, but got {position}"
            )
        height, width = self.sizes[self.choices[position]]
        return height, width, int(self.batch_sizes[position])

    def to_list(self) -> List[Tuple[int, int, int]]:
        """Return ``(height, width, batch_size)`` of every iteration."""
        return [
            (*self.sizes[choice], batch_size)
            for choice, batch_size in zip(
                self.choices.tolist(), self.batch_sizes.tolist()
            )
        ]


def epoch_generator(seed: int, epoch: int, used: int = 0) -> np.random.Generator:
    """Return the generator of an epoch's draws, independent of every global one.

    Args:
        seed: Seed of the training.
        epoch: Number of the epoch.
        used: Images that were used before, where only the rest of the epoch is
            planned. Defaults to 0.
    """
    place = [_EPOCH_DRAWS, seed, epoch]
    return np.random.default_rng([*place, used] if used else place)


def count_iterations(
    num_samples: int, distribution: SizeDistribution, drop_last: bool = False
) -> int:
    """Count the iterations of an epoch that draws from one distribution.

    Args:
        num_samples: Samples of the epoch on one rank.
        distribution: What is drawn from.
        drop_last: Leave out the images that do not fill a last batch.
    """
    # Exact fractions: a quotient rounded past an integer would plan one batch more.
    weights = [Fraction(weight) for weight in distribution.weights]
    images = sum(w * b for w, b in zip(weights, distribution.batch_sizes))
    quotient = num_samples * sum(weights) / images
    return math.floor(quotient) if drop_last else math.ceil(quotient)


def plan_epoch(
    num_samples: int,
    distribution_at: Callable[[float], SizeDistribution],
    generator: np.random.Generator,
    drop_last: bool = False,
    lookups: int = 1,
    deficit: Optional[np.ndarray] = None,
) -> Plan:
    """Plan one epoch.

    Args:
        num_samples: Samples of the epoch on one rank.
        distribution_at: What is drawn from after a part of the epoch, 0 to 1.
        generator: Source of the draws, :func:`epoch_generator`.
        drop_last: Leave out the images that do not fill a last batch.
        lookups: At how many evenly spaced points of the epoch ``distribution_at`` is
            looked up. Defaults to 1, the start of the epoch.
        deficit: Shape ``(sizes,)``: iterations that each size lacks from earlier
            epochs, from :func:`share_iterations`. Defaults to zeros.

    Returns:
        The plan. Without ``drop_last`` its batch sizes sum to ``num_samples``, and all
        but the last are those of their size; with it, all are.
    """
    sizes: List[Size] = []
    choices: List[np.ndarray] = []
    batch_sizes: List[np.ndarray] = []
    planned, even, drawn = 0, False, np.zeros(0, dtype=np.int64)
    for end, distribution in _stretches(num_samples, distribution_at, lookups):
        if end <= planned:
            continue
        # A batch may run over where the sizes change, but not at the end of the epoch.
        even = end == num_samples
        counts, _ = share_iterations(
            end - planned, distribution, generator, drop_last and even, deficit, even
        )
        drawn = np.repeat(np.arange(len(counts)), counts)
        generator.shuffle(drawn)
        for size in distribution.sizes:
            if size not in sizes:
                sizes.append(size)
        table = np.asarray([sizes.index(s) for s in distribution.sizes], dtype=np.int64)
        capacities = np.asarray(distribution.batch_sizes, dtype=np.int64)[drawn]
        choices.append(table[drawn])
        batch_sizes.append(capacities)
        planned += int(capacities.sum())
    all_choices = np.concatenate([np.zeros(0, dtype=np.int64), *choices])
    all_sizes = np.concatenate([np.zeros(0, dtype=np.int64), *batch_sizes])
    if not even:
        # An earlier stretch ran over the end of the epoch.
        needed = int(np.searchsorted(np.cumsum(all_sizes), num_samples, "left")) + 1
        all_choices, all_sizes = all_choices[:needed], all_sizes[:needed]
    over = int(all_sizes.sum()) - num_samples
    if over > 0 and drop_last:
        all_choices, all_sizes = all_choices[:-1], all_sizes[:-1]
    elif over > 0:
        if even and 2 * over > all_sizes[-1]:
            # The cut would leave few images in the last batch, or none, which is bad
            # for batch normalization. Cut one of the largest of its stretch.
            stretch = all_sizes[len(all_sizes) - len(drawn) :]
            largest = np.flatnonzero(stretch == stretch.max()) - len(stretch)
            swap = int(largest[generator.integers(len(largest))])
            for column in (all_choices, all_sizes):
                column[[swap, -1]] = column[[-1, swap]]
        all_sizes = cut_batches(all_sizes, over)
    return Plan(tuple(sizes), all_choices, all_sizes)


def _stretches(
    num_samples: int,
    distribution_at: Callable[[float], SizeDistribution],
    lookups: int,
) -> List[Tuple[int, SizeDistribution]]:
    """Return ``(end, distribution)`` of the parts that draw from the same sizes."""
    stretches: List[Tuple[int, SizeDistribution]] = []
    for lookup in range(lookups):
        distribution = distribution_at(lookup / lookups)
        end = num_samples * (lookup + 1) // lookups
        if stretches and stretches[-1][1] == distribution:
            stretches[-1] = (end, distribution)
        else:
            stretches.append((end, distribution))
    return stretches


def share_iterations(
    num_samples: int,
    distribution: SizeDistribution,
    generator: np.random.Generator,
    drop_last: bool = False,
    deficit: Optional[np.ndarray] = None,
    even: bool = True,
) -> Tuple[np.ndarray, np.ndarray]:
    """Share out the iterations of an epoch among the sizes.

    Args:
        num_samples: Samples of the epoch on one rank.
        distribution: What is drawn from.
        generator: Source of the draws, :func:`epoch_generator`.
        drop_last: The batches hold at most the samples, and fewer samples than the
            largest batch are left over. ``False``: the batches hold all samples, and
            fewer places than the largest batch stay empty.
        deficit: Shape ``(sizes,)``: iterations that each size lacks from earlier
            epochs. Defaults to zeros.
        even: Let the batches hold exactly the samples, as ``drop_last`` says.
            ``False`` only shares out.

    Returns:
        ``counts`` and the ``deficit`` after this epoch, both of shape ``(sizes,)``.
    """
    capacities = np.asarray(distribution.batch_sizes, dtype=np.int64)
    weights = np.asarray(distribution.weights, dtype=np.float64)
    iterations = count_iterations(num_samples, distribution, drop_last)
    due = weights / weights.sum() * iterations
    if deficit is not None:
        due = due + deficit
    counts = _round_shares(due, iterations, generator)
    while even:
        spare = int(counts @ capacities) - num_samples
        largest = int(capacities.max() if drop_last else capacities[counts > 0].max())
        if drop_last:
            low, high = 1 - largest, 0
        else:
            low, high = 0, largest - 1
        if low <= spare <= high or not iterations:
            break
        counts = _exchange(
            counts, capacities, due, low - spare, high - spare, generator
        )
    # Bounded: what no later epoch can return does not accumulate.
    left = np.clip(due - counts, -_LARGEST_DEFICIT, _LARGEST_DEFICIT)
    return counts, left - left.mean()


def _round_shares(
    due: np.ndarray, iterations: int, generator: np.random.Generator
) -> np.ndarray:
    """Round shares up or down at random, so that they sum to the iterations."""
    edges: np.ndarray = np.cumsum(np.maximum(due, 0.0))
    if edges[-1] > 0:
        edges = edges / edges[-1] * iterations
    edges = np.minimum(np.floor(edges + generator.random()), iterations)
    edges[-1] = iterations
    return np.diff(edges, prepend=0.0).astype(np.int64)


def _exchange(
    counts: np.ndarray,
    capacities: np.ndarray,
    due: np.ndarray,
    low: int,
    high: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Replace one size by another to gain from ``low`` to ``high`` images.

    The exchange that departs least from what is due; where none gains as much, one
    that goes as far as possible in that direction. It always ends: the mean batch times
    the iterations is within reach, and an exchange gains less than the larger of its
    two batches holds.
    """
    pairs = np.meshgrid(np.flatnonzero(counts), np.arange(len(counts)))
    old, new = (column.ravel() for column in pairs)
    gain = capacities[new] - capacities[old]
    fits = (gain >= low) & (gain <= high) & (gain != 0)
    if not fits.any():
        fits = (gain > 0) if low > 0 else (gain < 0)
    old, new = old[fits], new[fits]
    # What the exchange adds to the squared distance to what is due.
    excess = counts - due
    cost = excess[new] - excess[old]
    best = np.flatnonzero(cost <= cost.min() + 1e-9)
    chosen = int(best[generator.integers(len(best))])
    counts = counts.copy()
    counts[old[chosen]] -= 1
    counts[new[chosen]] += 1
    return counts


def cut_batches(batch_sizes: np.ndarray, images: int) -> np.ndarray:
    """Remove ``images`` from the last batches, leaving at least one image in each.

    Args:
        batch_sizes: Shape ``(iterations,)``.
        images: How many to remove.

    Returns:
        Shape ``(iterations,)``.
    """
    cut = batch_sizes.copy()
    position = len(cut) - 1
    left = int(cut.sum()) - images
    if left < len(cut):
        raise ValueError(
            f"{len(cut)} iterations cannot hold {left} images with at least one in each"
        )
    while images > 0:
        taken = min(images, int(cut[position]) - 1)
        cut[position] -= taken
        images -= taken
        position -= 1
    return cut


def plan_stream(
    start: int,
    stop: int,
    distribution_at: Callable[[int], SizeDistribution],
    seed: int,
) -> Plan:
    """Plan iterations ``start`` to ``stop`` of an endless stream.

    Each is drawn independently, so that any part is found without those before it.

    Args:
        start: First iteration.
        stop: The iteration after the last.
        distribution_at: What is drawn from at an iteration.
        seed: Seed of the draws.
    """
    iterations = range(start, max(start, stop))
    drawn_from = [distribution_at(iteration) for iteration in iterations]
    uniform = _stream_draws(iterations, seed)
    known: Dict[Size, int] = {}
    choices = np.empty(len(iterations), dtype=np.int64)
    batch_sizes = np.empty_like(choices)
    first = 0
    for last, distribution in enumerate(drawn_from, start=1):
        if last < len(drawn_from) and drawn_from[last] is distribution:
            continue
        edges = np.cumsum(distribution.weights)
        drawn = np.searchsorted(edges, uniform[first:last] * edges[-1], "right")
        drawn = np.minimum(drawn, len(distribution.sizes) - 1)
        table = [known.setdefault(size, len(known)) for size in distribution.sizes]
        choices[first:last] = np.asarray(table, dtype=np.int64)[drawn]
        capacities = np.asarray(distribution.batch_sizes, dtype=np.int64)
        batch_sizes[first:last] = capacities[drawn]
        first = last
    # In the order in which they first occur.
    occurring, places, choices = np.unique(
        choices, return_index=True, return_inverse=True
    )
    order = np.argsort(places)
    sizes = tuple(known)
    return Plan(
        tuple(sizes[number] for number in occurring[order].tolist()),
        np.argsort(order)[choices.reshape(-1)],
        batch_sizes,
    )


def _stream_draws(iterations: range, seed: int) -> np.ndarray:
    """Return a number from 0 to 1 for each iteration, the same for any range."""
    first_block = iterations.start // STREAM_BLOCK
    draws = [
        np.random.default_rng([_STREAM_DRAWS, seed, block]).random(STREAM_BLOCK)
        for block in range(first_block, -(-iterations.stop // STREAM_BLOCK))
    ]
    offset = iterations.start - first_block * STREAM_BLOCK
    every: np.ndarray = np.concatenate([np.empty(0), *draws])
    return every[offset : offset + len(iterations)]
