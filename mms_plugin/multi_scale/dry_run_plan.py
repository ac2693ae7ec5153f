"""Plan the batches of a dry run: sizes, batch sizes and images. Pure functions."""

from __future__ import annotations

from itertools import cycle, islice
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .multi_scale_variable_batch_sampler import MultiScaleVariableBatchSampler
from .sizes import Size, size_text

__all__ = [
    "NO_ROOM",
    "DryRunPoint",
    "chosen_images",
    "points_of_training",
    "recompilations",
    "too_large",
    "worst_batches",
]

NO_ROOM = "does not fit into the memory"
"""Text that every message of :func:`too_large` contains."""


class DryRunPoint(NamedTuple):
    """A size and a batch size that occur together in a training.

    Attributes:
        size: ``(height, width)`` in pixels; ``None``: the pipeline sets the size.
        batch_size: Images per batch on this rank.
    """

    size: Optional[Size]
    batch_size: int

    def __str__(self) -> str:
        images = f"{self.batch_size} image{'s' if self.batch_size > 1 else ''}"
        if self.size is None:
            return images
        return f"{images} of {size_text(self.size)}"


def points_of_training(
    sampler: MultiScaleVariableBatchSampler,
) -> List[DryRunPoint]:
    """Return every size that a training can draw, with its full batch.

    The most expensive batch comes first, by its pixels or by the sampler's
    ``cost_model``. Start and end sizes of a curriculum are included, sizes that the
    weights or the curriculum leave out are not. No batch is larger than the number of
    samples on a rank.

    Args:
        sampler: The sampler of the training, with its curriculum set.
    """
    growing = sampler.growing_sizes
    batches: Dict[Size, int] = {}
    for fraction in sampler.lookup_fractions():
        distribution = growing.distribution(fraction)
        batches.update(zip(distribution.sizes, distribution.batch_sizes))
    most = None if sampler.endless else len(sampler.inner_sampler)
    points = [
        DryRunPoint(size, batch if most is None else min(batch, most))
        for size, batch in batches.items()
    ]

    def cost(point: DryRunPoint) -> Tuple[float, int]:
        assert point.size is not None
        if growing.cost_model is not None:
            image = float(growing.cost_model.cost(point.size))
        else:
            image = float(point.size[0] * point.size[1])
        return image * point.batch_size, point.batch_size

    return sorted(points, key=cost, reverse=True)


def chosen_images(
    candidates: Sequence[int],
    batch_size: int,
    instances: Optional[Sequence[int]] = None,
) -> List[int]:
    """Choose the images of a batch.

    Images are repeated if there are fewer candidates than the batch holds.

    Args:
        candidates: Indices to choose from, at least one.
        batch_size: Number of images.
        instances: Number of objects in each image of the dataset, by index: the images
            with the most are chosen. Defaults to candidates at equal distances.

    Returns:
        Indices of the images.
    """
    count = min(batch_size, len(candidates))
    if instances is not None:
        ordered = sorted(candidates, key=lambda index: -instances[index])
        chosen = ordered[:count]
    else:
        chosen = [candidates[i * len(candidates) // count] for i in range(count)]
    return [int(chosen[i % count]) for i in range(batch_size)]


def worst_batches(
    point: DryRunPoint,
    shapes: np.ndarray,
    instances: Sequence[int],
    groups: Optional[np.ndarray] = None,
) -> List[List[int]]:
    """Return the images of the most expensive batches at a size, most padding first.

    A batch is padded to the largest height and the largest width among its images. With
    ``keep_ratio`` a wide and a tall image together are padded to the long side in both
    directions. The batch holds the images that need the most padding, then those with
    the most objects. If only one or two images fit, a second batch has the images with
    the most objects.

    Args:
        point: Size and batch size.
        shapes: ``(height, width)`` of every image in pixels, shape ``(images, 2)``.
        instances: Number of objects in every image; all 0 if not known.
        groups: Images of different groups never share a batch, shape ``(images,)``.
            Defaults to one group.
    """
    counts = np.asarray(instances)
    resized = _resized(shapes, point.size)
    best: Tuple[Tuple[float, int], np.ndarray, List[int]] = ((-1.0, -1), counts, [])
    flags = [None] if groups is None else np.unique(groups).tolist()
    for flag in flags:
        own = np.arange(len(counts))
        if flag is not None:
            own = own[groups == flag]
        chosen = _most_padding(resized[own], counts[own], point.batch_size)
        height, width = resized[own[chosen]].max(axis=0)
        # With equal padding take the group with more objects.
        rank = (float(height * width), int(counts[own].max()))
        if rank > best[0]:
            best = (rank, own, [int(own[i]) for i in chosen])
    _, own, pair = best
    crowded = [int(i) for i in own[np.argsort(-counts[own], kind="stable")]]
    ordered = pair + [i for i in crowded if i not in pair]
    batches = [list(islice(cycle(ordered), point.batch_size))]
    if counts.max(initial=0) > 0 and point.batch_size <= 2:
        most = list(islice(cycle(crowded), point.batch_size))
        if set(most) != set(batches[0]):
            batches.append(most)
    return batches


# Used where the size of the pipeline is not known: mmdet's usual scale.
_USUAL_BOUNDS = (800, 1333)


def _resized(shapes: np.ndarray, size: Optional[Size]) -> np.ndarray:
    """Return the shapes resized to fit into a size, with their ratios kept."""
    shapes = np.asarray(shapes, dtype=np.float64)
    bounds = size or _USUAL_BOUNDS
    factors = np.minimum(
        max(bounds) / shapes.max(axis=1), min(bounds) / shapes.min(axis=1)
    )
    return np.floor(shapes * factors[:, None] + 0.5)


def _most_padding(shapes: np.ndarray, counts: np.ndarray, batch_size: int) -> List[int]:
    """Return the one or two images whose sides decide the padding of the batch."""

    def most(of: np.ndarray) -> int:
        return int(np.lexsort((counts, of))[-1])

    if batch_size == 1:
        return [most(shapes.prod(axis=1))]
    highest, widest = most(shapes[:, 0]), most(shapes[:, 1])
    return [highest] if highest == widest else [highest, widest]


def recompilations(
    points: Sequence[DryRunPoint], max_epochs: int, drop_last: bool
) -> int:
    """Return how many shapes of batches Dynamo may have to compile in a training.

    One for each size, and one for the last batch of each epoch, which is cut, as long
    as there are that many different cut batches.

    Args:
        points: The full batches.
        max_epochs: About the number of epochs; 0 if the training has none.
        drop_last: Whether cut batches are left out.
    """
    cuts = 0
    if not drop_last:
        cuts = min(max_epochs, sum(point.batch_size - 1 for point in points))
    return len(points) + cuts


def too_large(point: DryRunPoint, base_batch_size: int, where: str, reason: str) -> str:
    """Return the error for a batch that does not fit into the memory.

    Args:
        point: Size and batch size of the batch.
        base_batch_size: ``train_dataloader.batch_size``.
        where: Device and rank.
        reason: Message of the allocator.
    """
    advice = [f"lower train_dataloader.batch_size={base_batch_size}"]
    if point.size is not None:
        if point.batch_size > 1:
            advice.append(
                f"give this size fewer than {point.batch_size} in batch_sizes of the "
                "batch sampler"
            )
        advice.append("leave the size out of its sizes (and the curriculum's)")
    return f"a batch of {point} {NO_ROOM} of {where} ({reason}): {', or '.join(advice)}"
