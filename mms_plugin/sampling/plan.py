"""The plan of an epoch: which resolution and how many images in each iteration.

Pure functions of the seed, the epoch, the number of samples and what may be drawn.
They know no data set and no process group: every rank that asks gets the same sizes.

The number of iterations is settled before any draw: ``ceil(N / mean batch size)``. So
an epoch's length is known without planning it, and epochs that draw from the same sizes
are equally long. The draws then keep each size's share of the iterations to within one
(systematic sampling, in random order), and a few are exchanged until the images come
out even.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Callable, List, Sequence, Tuple

import numpy as np

from .sizes import Size, SizeDistribution

# Infinite streams are drawn in blocks, so that any iteration is found at once.
STREAM_BLOCK = 256

_EPOCH_DRAWS = 0
_STREAM_DRAWS = 1


@dataclass(frozen=True)
class Plan:
    """The iterations of an epoch, or of a stretch of an endless stream.

    Attributes:
        sizes: The resolutions that occur, ``(height, width)`` in pixels.
        choices: Shape ``(iterations,)``: which of ``sizes`` each iteration has.
        batch_sizes: Shape ``(iterations,)``: images of each iteration, per rank.
    """

    sizes: Tuple[Size, ...]
    choices: np.ndarray
    batch_sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.choices)

    def at(self, position: int) -> Tuple[int, int, int]:
        """``(height, width, batch_size)`` of one iteration."""
        height, width = self.sizes[self.choices[position]]
        return height, width, int(self.batch_sizes[position])

    def to_list(self) -> List[Tuple[int, int, int]]:
        """As ``(height, width, batch_size)`` per iteration."""
        return [
            (*self.sizes[choice], batch_size)
            for choice, batch_size in zip(
                self.choices.tolist(), self.batch_sizes.tolist()
            )
        ]


def epoch_generator(seed: int, epoch: int) -> np.random.Generator:
    """The generator of an epoch's draws, apart from every global one."""
    return np.random.default_rng([_EPOCH_DRAWS, seed, epoch])


def count_iterations(
    num_samples: int, distribution: SizeDistribution, drop_last: bool = False
) -> int:
    """Iterations of an epoch that draws from one distribution, without planning it.

    Args:
        num_samples: Samples of the epoch on one rank.
        distribution: What is drawn from.
        drop_last: Leave out the images that do not fill a last batch.
    """
    # Exact: a quotient rounded past an integer would plan a batch too many.
    weights = [Fraction(weight) for weight in distribution.weights]
    images = sum(w * b for w, b in zip(weights, distribution.batch_sizes))
    quotient = num_samples * sum(weights) / images
    return math.floor(quotient) if drop_last else math.ceil(quotient)


def plan_epoch(
    num_samples: int,
    distribution_at: Callable[[float], SizeDistribution],
    generator: np.random.Generator,
    drop_last: bool = False,
    looks: int = 1,
) -> Plan:
    """Plan one epoch.

    Args:
        num_samples: Samples of the epoch on one rank.
        distribution_at: What is drawn from after a part of the epoch, 0 to 1.
        generator: Source of the draws, :func:`epoch_generator`.
        drop_last: Leave out the images that do not fill a last batch.
        looks: At how many evenly spaced points of the epoch ``distribution_at`` is
            looked up. 1: at the start alone.

    Returns:
        The plan. Without ``drop_last`` its batch sizes sum to ``num_samples``, and all
        but the last are those of their size; with it, all are.
    """
    stretches = _stretches(num_samples, distribution_at, looks)
    sizes: List[Size] = []
    choices: List[np.ndarray] = []
    batch_sizes: List[np.ndarray] = []
    planned = 0
    for end, distribution in stretches:
        last = end == num_samples
        if end - planned <= 0:
            continue
        drawn = _draw_stretch(
            end - planned, distribution, generator, drop_last and last
        )
        # Earlier stretches run over their end; the next one starts from there.
        capacities = np.asarray(distribution.batch_sizes, dtype=np.int64)[drawn]
        positions = {size: i for i, size in enumerate(sizes)}
        for size in distribution.sizes:
            if size not in positions:
                positions[size] = len(sizes)
                sizes.append(size)
        table = np.asarray([positions[s] for s in distribution.sizes], dtype=np.int64)
        choices.append(table[drawn])
        batch_sizes.append(capacities)
        planned += int(capacities.sum())
    all_choices = np.concatenate(choices) if choices else np.zeros(0, dtype=np.int64)
    all_sizes = np.concatenate(batch_sizes) if batch_sizes else np.zeros(0, np.int64)
    if planned > num_samples:
        if drop_last:
            # The stretch before the last ran over the epoch's end.
            keep = int(np.searchsorted(np.cumsum(all_sizes), num_samples, "right"))
            all_choices, all_sizes = all_choices[:keep], all_sizes[:keep]
        else:
            all_sizes = cut_batches(all_sizes, planned - num_samples)
    return Plan(tuple(sizes), all_choices, all_sizes)


def _stretches(
    num_samples: int,
    distribution_at: Callable[[float], SizeDistribution],
    looks: int,
) -> List[Tuple[int, SizeDistribution]]:
    """``(end, distribution)`` of the epoch's parts that draw from the same sizes."""
    stretches: List[Tuple[int, SizeDistribution]] = []
    for look in range(looks):
        distribution = distribution_at(look / looks)
        end = num_samples * (look + 1) // looks
        if stretches and stretches[-1][1] == distribution:
            stretches[-1] = (end, distribution)
        else:
            stretches.append((end, distribution))
    return stretches


def _draw_stretch(
    num_samples: int,
    distribution: SizeDistribution,
    generator: np.random.Generator,
    drop_last: bool,
) -> np.ndarray:
    """Draw sizes for ``num_samples``, in random order.

    Returns:
        Shape ``(iterations,)``, indices into ``distribution.sizes``. The full batches
        hold all the samples, and without the last one they do not (``drop_last``: they
        hold at most the samples).
    """
    capacities = np.asarray(distribution.batch_sizes, dtype=np.int64)
    iterations = count_iterations(num_samples, distribution, drop_last)
    counts = _systematic_counts(iterations, distribution.weights, generator)
    spare = int(counts @ capacities) - num_samples
    if drop_last:
        counts, spare = _exchange_to_fit(counts, capacities, spare, generator)
    else:
        counts, spare = _exchange_to_hold(counts, capacities, spare, generator)
    drawn = np.repeat(np.arange(len(capacities)), counts)
    generator.shuffle(drawn)
    if not drop_last and spare >= capacities[drawn[-1]]:
        # The cut must leave something of the last batch.
        large = np.flatnonzero(capacities[drawn] > spare)
        swap = int(large[generator.integers(len(large))])
        drawn[[swap, -1]] = drawn[[-1, swap]]
    return drawn


def _systematic_counts(
    iterations: int, weights: Sequence[float], generator: np.random.Generator
) -> np.ndarray:
    """How often each size comes: its share, rounded up or down at random."""
    shares = np.cumsum(np.asarray(weights, dtype=np.float64))
    edges = np.floor(shares / shares[-1] * iterations + generator.random())
    edges[-1] = iterations
    edges = np.minimum(edges, iterations)
    return np.diff(edges, prepend=0.0).astype(np.int64)


def _exchange_to_hold(
    counts: np.ndarray,
    capacities: np.ndarray,
    spare: int,
    generator: np.random.Generator,
) -> Tuple[np.ndarray, int]:
    """Exchange draws until the batches hold the samples, with little to spare.

    At the end ``0 <= spare <`` the largest batch that is drawn: the mean batch times
    the iterations reaches the samples, and an exchange moves ``spare`` by less than the
    larger of its two batches. The less there is to spare, the fuller the last batch:
    few images are hard on batch normalization.
    """
    while True:
        gains = _gains(counts, capacities)
        if spare < 0:
            gains = gains[gains[:, 2] > 0]
        elif spare < capacities[counts > 0].max():
            gains = gains[(gains[:, 2] < 0) & (gains[:, 2] >= -spare)]
        else:
            gains = gains[gains[:, 2] < 0]
        if not len(gains):
            return counts, spare
        counts, spare = _exchange(counts, spare, gains, generator)


def _exchange_to_fit(
    counts: np.ndarray,
    capacities: np.ndarray,
    spare: int,
    generator: np.random.Generator,
) -> Tuple[np.ndarray, int]:
    """Exchange draws until the batches fit the samples, with few left over."""
    while True:
        gains = _gains(counts, capacities)
        if spare > 0:
            gains = gains[gains[:, 2] < 0]
        else:
            gains = gains[(gains[:, 2] > 0) & (gains[:, 2] <= -spare)]
        if not len(gains):
            return counts, spare
        counts, spare = _exchange(counts, spare, gains, generator)


def _gains(counts: np.ndarray, capacities: np.ndarray) -> np.ndarray:
    """Shape ``(exchanges, 3)``: a drawn size, one in its place, the images gained."""
    drawn = np.flatnonzero(counts)
    old, new = np.meshgrid(drawn, np.arange(len(capacities)), indexing="ij")
    gain = capacities[new] - capacities[old]
    return np.stack([old.ravel(), new.ravel(), gain.ravel()], axis=1)


def _exchange(
    counts: np.ndarray, spare: int, gains: np.ndarray, generator: np.random.Generator
) -> Tuple[np.ndarray, int]:
    old, new, gain = gains[generator.integers(len(gains))]
    counts = counts.copy()
    counts[old] -= 1
    counts[new] += 1
    return counts, spare + int(gain)


def cut_batches(batch_sizes: np.ndarray, images: int) -> np.ndarray:
    """Take ``images`` off the last batches, leaving at least one image in each.

    Args:
        batch_sizes: Shape ``(iterations,)``.
        images: How many to take off.

    Returns:
        Shape ``(iterations,)``.
    """
    cut = batch_sizes.copy()
    position = len(cut) - 1
    while images > 0:
        if position < 0:
            raise ValueError(
                f"{len(batch_sizes)} iterations cannot hold "
                f"{int(batch_sizes.sum()) - images} images with at least one in each"
            )
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
    """Plan iterations ``start`` to ``stop`` of a stream without an end.

    Each is drawn on its own, so that any stretch is found without the ones before it.

    Args:
        start: First iteration.
        stop: The iteration after the last.
        distribution_at: What is drawn from at an iteration.
        seed: Seed of the draws.
    """
    sizes: List[Size] = []
    choices = np.empty(max(stop - start, 0), dtype=np.int64)
    batch_sizes = np.empty_like(choices)
    uniform = np.empty(0)
    for iteration in range(start, stop):
        block, offset = divmod(iteration, STREAM_BLOCK)
        if iteration == start or offset == 0:
            generator = np.random.default_rng([_STREAM_DRAWS, seed, block])
            uniform = generator.random(STREAM_BLOCK)
        distribution = distribution_at(iteration)
        edges = np.cumsum(distribution.weights)
        drawn = int(np.searchsorted(edges, uniform[offset] * edges[-1], "right"))
        drawn = min(drawn, len(distribution.sizes) - 1)
        size = distribution.sizes[drawn]
        if size not in sizes:
            sizes.append(size)
        choices[iteration - start] = sizes.index(size)
        batch_sizes[iteration - start] = distribution.batch_sizes[drawn]
    return Plan(tuple(sizes), choices, batch_sizes)
