"""The numbers of a large-batch recipe: shares of a batch, warm-up, measurements.

Pure functions. The constants are those of the released AGVM recipes (MMDetection 2,
arXiv 2210.11078): batch 256 with 920 and batch 512 with 460 iterations of warm-up, on
16 epochs of COCO.
"""

from __future__ import annotations

from typing import NamedTuple, Optional

__all__ = ["BatchShares", "LargeBatchTimes", "large_batch_times", "share_batch"]

# 920 * 256 = 460 * 512: two epochs of COCO, an eighth of the released training.
WARMUP_IMAGES = 235_520
WARMUP_PART = 1 / 8

# Updates between the end of the warm-up and the first measurement, and the most of a
# training that they may be: 100 of the 3,664 updates at batch 512 are 3 %.
DELAY = 100
DELAY_PART = 0.03

# The most updates from one measurement to the next; the second above a batch of 1,000.
INTERVAL, INTERVAL_OF_THOUSANDS = 10, 5
MEASUREMENTS = 100

# The moving average reaches over 1 / (1 - momentum) measurements: 33 with 0.97. It
# should be at most a fifth of them, as in the published run of 924 updates.
MOMENTUM, LOWEST_MOMENTUM = 0.97, 0.9
AVERAGED_PART = 1 / 5


class BatchShares(NamedTuple):
    """How ranks and accumulation make a batch.

    Attributes:
        total: Images of one update of the weights.
        world_size: Ranks.
        images: Images of one iteration on one rank.
        accumulation: Iterations of one update.
    """

    total: int
    world_size: int
    images: int
    accumulation: int

    @property
    def images_of_iteration(self) -> int:
        """Images of one iteration, over all ranks."""
        return self.world_size * self.images


class LargeBatchTimes(NamedTuple):
    """When the parts of a large-batch training begin and end, in updates.

    Attributes:
        updates: Updates of the whole training.
        warmup: Updates of the warm-up.
        clip_begin: First update whose gradient is clipped.
        clip_end: First update whose gradient is not clipped again.
        start: First update before which AGVM measures.
        interval: Updates from one measurement to the next.
        momentum: Of AGVM's moving average.
        measurements: How many the training has.
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
        total: Images of one update of the weights.
        world_size: Ranks.
        images_per_rank: Images that one rank takes in one iteration. A share below
            it is taken at once, a larger one is accumulated.

    Raises:
        ValueError: ``total`` cannot be split evenly; the message names totals that can.
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
        f"(train_dataloader.batch_size) and accumulation: use {near}, or other images "
        "per rank (--cfg-options train_dataloader.batch_size=N) or ranks"
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
    """Fit the released recipe to a number of updates.

    Args:
        updates: Updates of the whole training.
        batch_size: Images of one update.
        warmup: Updates of the warm-up. Defaults to as many as see the released
            recipes' 235,520 images, but at most an eighth of the training.
        start: First update before which AGVM measures. Defaults to 100 after the
            warm-up, or 3 % of the training where that is less.
        interval: Updates from one measurement to the next. Defaults to 10, to 5 above
            a batch of 1,000, and to fewer where the training would have less than 100
            measurements.
        momentum: Of AGVM's moving average. Defaults to 0.97, or less where that would
            average over more than a fifth of the measurements; at least 0.9.
        stop: Update from which on AGVM does not measure. Defaults to the end.

    Raises:
        ValueError: The warm-up or the start lies after the last update.
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
    delay = min(DELAY, max(1, round(updates * DELAY_PART)))
    if start is None:
        start = min(warmup + delay, updates - 1)
    if start >= updates:
        raise ValueError(
            f"start_iter must lie before the end of the training, but AGVM would start "
            f"at update {start} of {updates} at batch_size={batch_size}"
        )
    measured = (updates if stop is None else min(stop, updates)) - start
    if interval is None:
        most = INTERVAL_OF_THOUSANDS if batch_size > 1000 else INTERVAL
        interval = max(1, min(most, measured // MEASUREMENTS))
    measurements = max(0, -(-measured // interval))
    if momentum is None:
        averaged = max(1.0, measurements * AVERAGED_PART)
        momentum = max(LOWEST_MOMENTUM, min(MOMENTUM, 1 - 1 / averaged))
        momentum = round(momentum, 3)
    return LargeBatchTimes(
        updates=updates,
        warmup=warmup,
        clip_begin=max(0, warmup - delay),
        clip_end=warmup + delay,
        start=start,
        interval=interval,
        momentum=momentum,
        measurements=measurements,
    )
