"""Compute the numbers of a large-batch recipe: images per rank, warm-up, measurements.

Pure functions. The constants are those of the released AGVM recipes (MMDetection 2,
arXiv 2210.11078): 920 iterations of warm-up at batch size 256 and 460 at 512, in
trainings of 16 epochs on COCO.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

from ..agvm.fit_measurements import WARMUP_PART, fit_measurements

__all__ = ["BatchShares", "LargeBatchTimes", "large_batch_times", "share_batch"]

# 920 * 256 = 460 * 512 images: two epochs of COCO, an eighth of the released trainings.
WARMUP_IMAGES = 235_520

# Updates that clipping lasts on either side of the end of the warm-up, and their
# largest share of the training: 100 of the 3,664 updates at batch size 512 are 3 %.
CLIPPED = 100
CLIPPED_PART = 0.03


class BatchShares(NamedTuple):
    """Split of a batch into ranks and accumulated iterations.

    Attributes:
        total: Images per update of the weights.
        world_size: Number of ranks.
        images: Images per iteration and rank.
        accumulation: Iterations per update.
    """

    total: int
    world_size: int
    images: int
    accumulation: int

    @property
    def images_of_iteration(self) -> int:
        """Images per iteration over all ranks."""
        return self.world_size * self.images


class LargeBatchTimes(NamedTuple):
    """Begin and end of the parts of a large-batch training, in updates.

    Attributes:
        updates: Number of updates of the whole training.
        warmup: Number of updates of the warm-up.
        clip_begin: First update with gradient clipping.
        clip_end: First update after ``clip_begin`` without gradient clipping.
        start: First update before which AGVM measures.
        interval: Number of updates from one measurement to the next.
        momentum: Momentum of AGVM's moving average.
        measurements: Number of measurements in the training.
    """

    updates: int
    warmup: int
    clip_begin: int
    clip_end: int
    start: int
    interval: int
    momentum: float
    measurements: int


def share_batch(total: int, world_size: int, images_per_rank: int) -> BatchShares:
    """Split a batch among ranks and accumulated iterations.

    Args:
        total: Images per update of the weights.
        world_size: Number of ranks.
        images_per_rank: Largest number of images per iteration and rank. A rank with
            more images per update accumulates gradients over several iterations.

    Raises:
        ValueError: If ``total`` cannot be split evenly. The message names totals that
            can.
    """
    share, remainder = divmod(total, world_size)
    if remainder == 0 and 0 < share <= images_per_rank:
        return BatchShares(total, world_size, share, 1)
    step = world_size * images_per_rank
    if remainder == 0 and share and share % images_per_rank == 0:
        return BatchShares(total, world_size, images_per_rank, share // images_per_rank)
    if total < step:
        step = world_size
    below, above = total // step * step, -(-total // step) * step
    near = f"{below} or {above}" if below else str(above)
    ranks = "1 rank" if world_size == 1 else f"{world_size} ranks"
    raise ValueError(
        f"batch_size={total} cannot be made of {ranks} with {images_per_rank} images "
        f"(train_dataloader.batch_size) and accumulation: use {near}, or change the "
        "images per rank (--cfg-options train_dataloader.batch_size=N) or the number "
        "of ranks"
    )


def large_batch_times(
    updates: int,
    batch_size: int,
    warmup: Optional[int] = None,
    start: Optional[int] = None,
    interval: Optional[int] = None,
    momentum: Optional[float] = None,
    stop: Optional[int] = None,
) -> LargeBatchTimes:
    """Fit the released recipe to the number of updates of a training.

    Args:
        updates: Number of updates of the whole training.
        batch_size: Images per update.
        warmup: Number of updates of the warm-up. Defaults to None: 235,520 images, as
            in the released recipes, but at most an eighth of the training.
        start: First update before which AGVM measures. Defaults to None, like the three
            below: see :func:`~..agvm.fit_measurements.fit_measurements`.
        interval: Number of updates from one measurement to the next.
        momentum: Momentum of AGVM's moving average.
        stop: First update before which AGVM does not measure any more.

    Raises:
        ValueError: If the warm-up or the start is not before the end of the training.
    """
    if warmup is None:
        warmup = min(
            round(WARMUP_IMAGES / batch_size), max(1, int(updates * WARMUP_PART))
        )
    if warmup >= updates:
        raise ValueError(
            f"warmup_iters={warmup} must be below the {updates} updates that the "
            f"training has at batch_size={batch_size}"
        )
    times = fit_measurements(
        updates, warmup, batch_size, start, interval, momentum, stop
    )
    if times.start >= updates:
        raise ValueError(
            f"start_iter must lie before the end of the training, but AGVM would start "
            f"at update {times.start} of {updates} at batch_size={batch_size}"
        )
    clipped = min(CLIPPED, max(1, round(updates * CLIPPED_PART)))
    return LargeBatchTimes(
        updates=updates,
        warmup=warmup,
        clip_begin=max(0, warmup - clipped),
        clip_end=warmup + clipped,
        start=times.start,
        interval=times.interval,
        momentum=times.momentum,
        measurements=times.measurements,
    )
