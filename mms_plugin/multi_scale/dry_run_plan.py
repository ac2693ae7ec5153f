"""What a dry run runs: sizes, batch sizes, images. Pure functions."""

from __future__ import annotations

from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from .epoch_planner import LOOKUPS_PER_EPOCH
from .multi_scale_variable_batch_sampler import MultiScaleVariableBatchSampler
from .sizes import Size

__all__ = [
    "NO_ROOM",
    "DryRunPoint",
    "chosen_images",
    "points_of_training",
    "recompilations",
    "too_large",
]

# Looks at a curriculum that grows with the iterations, over the training.
_MOST_LOOKS = 20_000

NO_ROOM = "does not fit into the memory"
"""In every message of :func:`too_large`."""


class DryRunPoint(NamedTuple):
    """One kind of batch of a training.

    Attributes:
        size: ``(height, width)`` in pixels; ``None``: as the pipeline gives it.
        batch_size: Images on this rank.
    """

    size: Optional[Size]
    batch_size: int

    def __str__(self) -> str:
        images = f"{self.batch_size} image{'s' if self.batch_size > 1 else ''}"
        if self.size is None:
            return images
        return f"{images} of {self.size[0]}x{self.size[1]}"


def points_of_training(
    sampler: MultiScaleVariableBatchSampler,
) -> List[DryRunPoint]:
    """Every size that a training can draw, at its full batch, largest cost first.

    The cost of a batch is its pixels, or what the sampler's ``cost_model`` says. Start
    and end sizes of a curriculum are among them, those that weights or the curriculum
    leave out are not. No batch is larger than the samples of a rank.

    Args:
        sampler: Of the training, its curriculum set.
    """
    schedule = sampler.schedule
    batches: Dict[Size, int] = {}
    for fraction in _fractions(sampler):
        distribution = schedule.distribution(fraction)
        batches.update(zip(distribution.sizes, distribution.batch_sizes))
    most = None if sampler.endless else len(sampler.inner_sampler)
    points = [
        DryRunPoint(size, batch if most is None else min(batch, most))
        for size, batch in batches.items()
    ]

    def cost(point: DryRunPoint) -> Tuple[float, int]:
        assert point.size is not None
        if schedule.cost_model is not None:
            image = float(schedule.cost_model.cost(point.size))
        else:
            image = float(point.size[0] * point.size[1])
        return image * point.batch_size, point.batch_size

    return sorted(points, key=cost, reverse=True)


def _fractions(sampler: MultiScaleVariableBatchSampler) -> Iterator[float]:
    """Of the training, after which the sampler looks its sizes up."""
    curriculum = sampler.curriculum
    if curriculum is None:
        yield 1.0
    elif sampler.endless or not curriculum.by_epoch:
        looks = sampler.max_iters or LOOKUPS_PER_EPOCH * (sampler.max_epochs or 1)
        looks = min(looks, _MOST_LOOKS)
        for look in range(looks):
            yield look / looks
    elif sampler.max_epochs is not None:
        for epoch in range(sampler.max_epochs):
            yield epoch / sampler.max_epochs
    else:
        assert sampler.max_iters is not None
        epoch = before = 0
        while before < sampler.max_iters:
            yield before / sampler.max_iters
            epoch += 1
            before = sampler.iterations_before(epoch)


def chosen_images(
    candidates: Sequence[int],
    batch_size: int,
    instances: Optional[Sequence[int]] = None,
) -> List[int]:
    """Indices of a batch's images; of few candidates, some more than once.

    Args:
        candidates: Indices to choose from, at least one.
        batch_size: How many.
        instances: Objects of each image of the data set, by index: those with the most
            are chosen. ``None``: at equal distances over the candidates.
    """
    count = min(batch_size, len(candidates))
    if instances is not None:
        ordered = sorted(candidates, key=lambda index: -instances[index])
        chosen = ordered[:count]
    else:
        chosen = [candidates[i * len(candidates) // count] for i in range(count)]
    return [int(chosen[i % count]) for i in range(batch_size)]


def recompilations(
    points: Sequence[DryRunPoint], max_epochs: int, drop_last: bool
) -> int:
    """Shapes of a training's batches: what Dynamo may compile.

    One for each size, and one for the batch that each epoch's end cuts, unless there
    are fewer such batches than epochs.

    Args:
        points: The full batches.
        max_epochs: Of the training, or about; 0 where no epoch ends.
        drop_last: Whether cut batches are left out.
    """
    cuts = 0
    if not drop_last:
        cuts = min(max_epochs, sum(point.batch_size - 1 for point in points))
    return len(points) + cuts


def too_large(point: DryRunPoint, base_batch_size: int, where: str, reason: str) -> str:
    """The error for a batch that does not fit into the memory.

    Args:
        point: The batch.
        base_batch_size: ``train_dataloader.batch_size``.
        where: Device and rank.
        reason: What the allocator said.
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
