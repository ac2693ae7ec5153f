"""How evenly the images and pixels of an epoch lie over the ranks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class LoadBalance(NamedTuple):
    """An epoch's load on each rank, and in each iteration.

    Attributes:
        iterations: Of the epoch, on every rank.
        images: Of all ranks together.
        fewest_images: Of any rank.
        most_images: Of any rank.
        pixels_ratio: Pixels of the rank with the fewest over those of the rank with
            the most.
        uneven_iterations: In how many of them not all ranks have as many pixels.
        waiting: Part of the pixels' time that ranks wait for the rank with the most
            pixels of the iteration, if time goes by pixels: 0 is even.
    """

    iterations: int
    images: int
    fewest_images: int
    most_images: int
    pixels_ratio: float
    uneven_iterations: int
    waiting: float


def load_balance(pixels: np.ndarray, batch_sizes: np.ndarray) -> LoadBalance:
    """Compare the plans of all ranks.

    Args:
        pixels: Shape ``(iterations,)``, of one image at the size of each iteration; the
            same on every rank.
        batch_sizes: Shape ``(ranks, iterations)``.

    Raises:
        ValueError: There is no rank or no iteration, or the shapes do not fit.
    """
    if batch_sizes.ndim != 2 or batch_sizes.shape[1:] != pixels.shape:
        raise ValueError(
            "batch_sizes must have the shape (ranks, iterations) and pixels "
            f"(iterations,), but got {batch_sizes.shape} and {pixels.shape}"
        )
    if not batch_sizes.size:
        raise ValueError(
            "batch_sizes must have at least one rank and one iteration, but got "
            f"{batch_sizes.shape}"
        )
    images = batch_sizes.sum(axis=1)
    of_ranks = batch_sizes @ pixels
    most = batch_sizes.max(axis=0)
    busy = int(most @ pixels) * len(batch_sizes)
    return LoadBalance(
        iterations=batch_sizes.shape[1],
        images=int(images.sum()),
        fewest_images=int(images.min()),
        most_images=int(images.max()),
        pixels_ratio=float(of_ranks.min() / of_ranks.max()),
        uneven_iterations=int((batch_sizes.min(axis=0) < most).sum()),
        waiting=1.0 - int(of_ranks.sum()) / busy,
    )
