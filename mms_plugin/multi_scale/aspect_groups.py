"""Batches of either portrait or landscape images.

Ranks have different numbers of images of each group, but need equally many batches at
the same sizes. So the plan of an epoch holds a few more images than the epoch has
(:func:`spare_images`). The group that runs out first leaves its last batch partly
empty, by fewer images than the largest batch holds; the other group fills all others.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log

from ..utils.nested_datasets import without_slice
from .image_sizes import sides_of_record
from .multi_scale_dataset import MultiScaleDataset
from .plan import Plan, cut_batches

# Seconds of reading records one by one before a warning explains why it takes so long.
PATIENCE = 10.0


class EpochGroups(NamedTuple):
    """The group of each batch of an epoch and the images of each group.

    Attributes:
        of_batches: Shape ``(iterations,)``: 0 for portrait, 1 for landscape images.
        indices: Indices of the portrait and of the landscape images, in the sampler's
            order.
    """

    of_batches: np.ndarray
    indices: Tuple[np.ndarray, np.ndarray]

    def sources(self, plan: Plan, start: int) -> List[Iterator[int]]:
        """Return the indices of each group for the batches from ``start`` on."""
        sources: List[Iterator[int]] = []
        for group, indices in enumerate(self.indices):
            own = self.of_batches[:start] == group
            skip = int(plan.batch_sizes[:start][own].sum())
            sources.append(iter(indices[skip:].tolist()))
        return sources


def group_epoch(
    plan: Plan, indices: np.ndarray, landscape: np.ndarray, drop_last: bool = False
) -> Tuple[Plan, EpochGroups]:
    """Group a rank's images of an epoch, and cut the plan to the groups.

    Args:
        plan: The plan that all ranks share, with :func:`spare_images`.
        indices: Shape ``(images,)``: indices of this rank, in the sampler's order.
        landscape: Shape ``(samples,)``, from :func:`landscape_flags`.
        drop_last: Make full batches only. Defaults to ``False``.

    Returns:
        The plan of this rank, and the groups.
    """
    flags = landscape[indices]
    groups = (indices[~flags], indices[flags])
    of_batches, batch_sizes = deal_batches(
        plan.batch_sizes, [len(group) for group in groups], drop_last
    )
    return replace(plan, batch_sizes=batch_sizes), EpochGroups(of_batches, groups)


def spare_images(largest_batch: int) -> int:
    """Return how many images a plan must hold beyond those of the epoch."""
    return largest_batch - 1


def deal_batches(
    capacities: np.ndarray, counts: Sequence[int], drop_last: bool = False
) -> Tuple[np.ndarray, np.ndarray]:
    """Assign each batch of an epoch to a group of images.

    A batch goes to the group that has the largest part of its images left, so that
    the groups alternate evenly over the epoch.

    Args:
        capacities: Shape ``(iterations,)``: images of full batches. Their sum is the
            sum of ``counts`` plus :func:`spare_images`, or minus it with ``drop_last``.
        counts: Number of images in each group.
        drop_last: Make full batches only. Defaults to ``False``.

    Returns:
        ``groups`` and ``batch_sizes``, both of shape ``(iterations,)``. The batch sizes
        of a group sum to its count (with ``drop_last``: at most). Only the last
        batches of a group have fewer images than ``capacities``.
    """
    left, dealt = list(counts), [0] * len(counts)
    groups = np.zeros(len(capacities), dtype=np.int64)
    for position, capacity in enumerate(capacities.tolist()):
        fits = [g for g, n in enumerate(left) if n >= (capacity if drop_last else 1)]
        if fits:
            group = max(fits, key=lambda g: left[g] / counts[g])
        else:
            # No images are left: take the group whose batches are fullest.
            group = max(range(len(counts)), key=lambda g: counts[g] / (dealt[g] + 1))
        groups[position] = group
        left[group] -= capacity
        dealt[group] += 1
    if drop_last:
        return groups, capacities.copy()
    batch_sizes = capacities.copy()
    for group, count in enumerate(counts):
        own = groups == group
        over = int(capacities[own].sum()) - count
        batch_sizes[own] = cut_batches(capacities[own], over)
    return groups, batch_sizes


def landscape_flags(dataset: Any) -> np.ndarray:
    """Return which images of a dataset are at least as wide as high.

    A :class:`MultiScaleDataset` that built its dataset has recorded it. For others,
    each record is read through ``get_data_info``, which unpickles it.

    Args:
        dataset: A dataset whose ``get_data_info`` gives ``width`` and ``height``.

    Returns:
        Shape ``(len(dataset),)``, ``bool``.

    Raises:
        ValueError: The dataset does not give the width and height of each image.
    """
    sizes = _recorded_sizes(dataset)
    if sizes is not None:
        flags: np.ndarray = sizes[:, 1] >= sizes[:, 0]
        return flags
    get_data_info = getattr(dataset, "get_data_info", None)
    if get_data_info is None:
        raise ValueError(
            "group_by_aspect_ratio=True needs a dataset whose get_data_info(index) "
            f"gives the image's width and height, but got {type(dataset).__name__}"
        )
    flags = np.empty(len(dataset), dtype=bool)
    noted = time.monotonic() + PATIENCE
    for index in range(len(dataset)):
        info = get_data_info(index)
        height, width = sides_of_record(info)
        if height is None or width is None:
            raise ValueError(
                "group_by_aspect_ratio=True needs 'width' and 'height' in the "
                f"annotation of each image, but that of image {index} has "
                f"{sorted(info)}; add them, or set group_by_aspect_ratio=False"
            )
        flags[index] = width >= height
        if time.monotonic() > noted:
            print_log(
                "group_by_aspect_ratio=True reads width and height of "
                f"{len(dataset)} images one by one, {index + 1} so far. Give "
                "MultiScaleDataset the config of the dataset, not a built one; it then "
                "reads them while it builds the dataset.",
                logger="current",
                level=logging.WARNING,
            )
            noted = math.inf
    return flags


def _recorded_sizes(dataset: Any) -> Optional[np.ndarray]:
    """Return the sizes that a :class:`MultiScaleDataset` has recorded, if it is one."""
    unsliced = without_slice(dataset)
    if not isinstance(unsliced, MultiScaleDataset):
        return None
    sizes = unsliced.image_sizes()
    return None if sizes is None else sizes[: len(dataset)]


class GroupedStream:
    """Take batches of one group each from an endless stream of indices.

    A batch is given as soon as one group has enough images for it. The images of the
    other group, fewer than the largest batch holds, stay in a queue.

    Args:
        indices: The stream.
        landscape: Shape ``(samples,)``, from :func:`landscape_flags`.
    """

    def __init__(self, indices: Iterator[int], landscape: np.ndarray) -> None:
        self._indices = indices
        self._landscape = landscape
        self._queues: Tuple[List[int], List[int]] = ([], [])

    def take(self, count: int) -> List[int]:
        """Return the next ``count`` indices of one group; none when the stream ends."""
        queue = max(self._queues, key=lambda queue: len(queue) >= count)
        while len(queue) < count:
            index = next(self._indices, None)
            if index is None:
                return []
            queue = self._queues[int(self._landscape[index])]
            queue.append(index)
        taken, queue[:] = queue[:count], queue[count:]
        return taken
