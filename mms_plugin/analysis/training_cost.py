"""Predict a training's cost: its plan, times the cost of an image at each size."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

from ..multi_scale.sizes import Size, ordered_sizes, side_length
from .config_plan import ConfigPlan, EpochCount
from .model_flops import ModelFlops

__all__ = ["EpochCost", "TrainingCost", "cost_ratios", "training_cost"]

#: Seconds of an iteration by height, width and batch size on one rank.
IterationSeconds = Callable[[int, int, int], float]


class EpochCost(NamedTuple):
    """An epoch's cost.

    Attributes:
        iterations: Iterations on each rank.
        images: Number of images, over all ranks.
        pixels: Pixels of these images.
        flops: FLOPs of forward and backward passes, over all ranks; ``None`` where they
            were not counted.
        seconds: Time of the iterations; ``None`` without a table of times.
        sides: Smallest, mean and largest ``sqrt(height * width)`` of its batches.
    """

    iterations: int
    images: int
    pixels: int
    flops: Optional[float]
    seconds: Optional[float]
    sides: Tuple[float, float, float]


class TrainingCost(NamedTuple):
    """A training's cost.

    Attributes:
        plan: What the training runs.
        model: FLOPs of an image by size; ``None`` where they were not counted.
        epochs: Cost of each epoch of the plan.
        peak_batch: ``(height, width, batch_size)`` of the first rank's batch with the
            most pixels.
    """

    plan: ConfigPlan
    model: Optional[ModelFlops]
    epochs: List[EpochCost]
    peak_batch: Any

    @property
    def images(self) -> int:
        """Number of images, over all epochs and ranks."""
        return sum(epoch.images for epoch in self.epochs)

    @property
    def pixels(self) -> int:
        """Pixels of these images."""
        return sum(epoch.pixels for epoch in self.epochs)

    @property
    def flops(self) -> Optional[float]:
        """FLOPs of forward and backward passes, over all epochs and ranks."""
        if self.model is None:
            return None
        return sum(epoch.flops or 0.0 for epoch in self.epochs)

    @property
    def seconds(self) -> Optional[float]:
        """Time of all iterations."""
        known = [epoch.seconds for epoch in self.epochs if epoch.seconds is not None]
        return sum(known) if len(known) == len(self.epochs) else None

    @property
    def peak_pixels(self) -> int:
        """Of :attr:`peak_batch`."""
        height, width, batch_size = self.peak_batch
        rows, columns = self.plan.counted_as[height, width]
        return batch_size * rows * columns

    def to_dict(self) -> Dict[str, Any]:
        """Return what ``training_cost.py --json`` gives."""
        plan, model = self.plan, self.model
        height, width, batch_size = self.peak_batch
        return dict(
            iterations=plan.iterations,
            images=self.images,
            optimizer_updates=plan.optimizer_updates,
            train_flops=self.flops,
            train_pixels=self.pixels,
            seconds=self.seconds,
            peak_batch=dict(
                height=height,
                width=width,
                batch_size=batch_size,
                pixels=self.peak_pixels,
            ),
            world_size=plan.world_size,
            num_samples=None if plan.samples is None else plan.samples.number,
            samples_from=None if plan.samples is None else plan.samples.source,
            by_epoch=plan.by_epoch,
            seed=plan.seed,
            accumulative_counts=plan.accumulative_counts,
            counted_on=None if model is None else model.counted_on,
            rois_per_image=(
                None
                if model is None or model.rois is None
                else dict(sampled=model.rois[0], positive=model.rois[1])
            ),
            assumptions=plan.assumptions,
            sizes=self._sizes(),
            epochs=[
                dict(
                    epoch=number,
                    iterations=epoch.iterations,
                    images=epoch.images,
                    train_flops=epoch.flops,
                    train_pixels=epoch.pixels,
                    seconds=epoch.seconds,
                    sides=list(epoch.sides),
                )
                for number, epoch in enumerate(self.epochs)
            ],
        )

    def _sizes(self) -> List[Dict[str, Any]]:
        """Return what the training has of each size."""
        iterations: Dict[Size, int] = {}
        images: Dict[Size, int] = {}
        largest: Dict[Size, int] = {}
        for epoch in self.plan.epochs:
            for (height, width, batch_size), times in epoch.batches.items():
                size = (height, width)
                iterations[size] = iterations.get(size, 0) + times
                largest[size] = max(largest.get(size, 0), batch_size)
            for size, count in epoch.images.items():
                images[size] = images.get(size, 0) + count
        table = []
        for size in ordered_sizes(images):
            counted = self.plan.counted_as[size]
            flops = None if self.model is None else self.model.per_image[counted]
            table.append(
                dict(
                    height=size[0],
                    width=size[1],
                    batch_size=largest[size],
                    iterations=iterations[size],
                    images=images[size],
                    counted_as=list(counted),
                    train_flops_per_image=flops,
                )
            )
        return table


def training_cost(
    plan: ConfigPlan,
    model: Optional[ModelFlops],
    seconds: Optional[IterationSeconds] = None,
) -> TrainingCost:
    """Return the cost of a plan: its batches, times what their images cost.

    Args:
        plan: Of the training.
        model: With every size of ``plan.counted_as``. ``None``: only pixels.
        seconds: Of an iteration, ``seconds(height, width, batch_size)``. Defaults to
            None, not known.
    """
    batches = {batch for epoch in plan.epochs for batch in epoch.batches}

    def pixels(batch: Any) -> int:
        rows, columns = plan.counted_as[batch[0], batch[1]]
        return batch[2] * rows * columns

    return TrainingCost(
        plan=plan,
        model=model,
        epochs=[_epoch(epoch, plan, model, seconds) for epoch in plan.epochs],
        peak_batch=max(sorted(batches), key=pixels),
    )


def _epoch(
    epoch: EpochCount,
    plan: ConfigPlan,
    model: Optional[ModelFlops],
    seconds: Optional[IterationSeconds],
) -> EpochCost:
    pixels, flops = 0, 0.0
    for size, images in epoch.images.items():
        rows, columns = plan.counted_as[size]
        pixels += images * rows * columns
        if model is not None:
            flops += images * model.per_image[rows, columns]
    time: Optional[float] = None
    if seconds is not None:
        time = sum(times * seconds(*batch) for batch, times in epoch.batches.items())
    return EpochCost(
        iterations=epoch.iterations,
        images=sum(epoch.images.values()),
        pixels=pixels,
        flops=None if model is None else flops,
        seconds=time,
        sides=_sides(epoch),
    )


def _sides(epoch: EpochCount) -> Tuple[float, float, float]:
    sides = {batch: side_length(batch[:2]) for batch in epoch.batches}
    total = sum(sides[batch] * times for batch, times in epoch.batches.items())
    return min(sides.values()), total / epoch.iterations, max(sides.values())


def cost_ratios(
    cost: TrainingCost, baseline: TrainingCost
) -> Mapping[str, Optional[float]]:
    """Return a training's cost as parts of the baseline's.

    ``train_flops`` is the ratio of the pixels where FLOPs were not counted for both.
    """

    def ratio(mine: Optional[float], other: Optional[float]) -> Optional[float]:
        return None if mine is None or other is None else mine / other

    flops = ratio(cost.flops, baseline.flops)
    pixels = cost.pixels / baseline.pixels
    updates = cost.plan.optimizer_updates / baseline.plan.optimizer_updates
    return dict(
        iterations=cost.plan.iterations / baseline.plan.iterations,
        images=cost.images / baseline.images,
        optimizer_updates=updates,
        train_flops=pixels if flops is None else flops,
        train_pixels=pixels,
        peak_pixels=cost.peak_pixels / baseline.peak_pixels,
        seconds=ratio(cost.seconds, baseline.seconds),
    )
