"""Batches of portrait or of landscape images, never of both.

Every rank has its own share of either, and still the same number of batches at the same
sizes: the plan has room for one largest batch (less one image) more than there are
images. Then, whatever the shares, whole batches can be dealt to the two groups until
each holds its images: the group that is done first wastes less than a largest batch.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import replace
from typing import Any, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmengine.logging import print_log

from .multi_scale_dataset import MultiScaleDataset
from .plan import Plan, cut_batches

# Seconds of reading records one by one before a note says why it takes so long.
PATIENCE = 10.0


class EpochGroups(NamedTuple):
    """Which kind of images each batch of an epoch has, and these, in order.

    Attributes:
        of_batches: Shape ``(iterations,)``: 0 for portrait, 1 for landscape images.
        indices: Of the images of either kind, in the sampler's order.
    """

    of_batches: np.ndarray
    indices: Tuple[np.ndarray, np.ndarray]

    def sources(self, plan: Plan, start: int) -> List[Iterator[int]]:
        """The indices of either kind, without those of batches before ``start``."""
        sources: List[Iterator[int]] = []
        for group, kind in enumerate(self.indices):
            own = self.of_batches[:start] == group
            skip = int(plan.batch_sizes[:start][own].sum())
            sources.append(iter(kind[skip:].tolist()))
        return sources


def group_epoch(
    plan: Plan, indices: np.ndarray, landscape: np.ndarray, drop_last: bool = False
) -> Tuple[Plan, EpochGroups]:
    """Group a rank's images of an epoch, and cut its plan to the groups.

    Args:
        plan: Of all ranks, with :func:`spare_images`.
        indices: Shape ``(images,)``: the rank's, in the sampler's order.
        landscape: Shape ``(samples,)``, :func:`landscape_flags`.
        drop_last: Full batches alone.
    """
    flags = landscape[indices]
    kinds = (indices[~flags], indices[flags])
    of_batches, batch_sizes = deal_batches(
        plan.batch_sizes, [len(kind) for kind in kinds], drop_last
    )
    return replace(plan, batch_sizes=batch_sizes), EpochGroups(of_batches, kinds)


def spare_images(largest_batch: int) -> int:
    """Images that a plan must have room for beyond those that there are."""
    return largest_batch - 1


def deal_batches(
    capacities: np.ndarray, counts: Sequence[int], drop_last: bool = False
) -> Tuple[np.ndarray, np.ndarray]:
    """Deal the batches of an epoch to groups of images.

    Each batch goes to the group that has the largest part of its images left, so that
    the groups come evenly over the epoch.

    Args:
        capacities: Shape ``(iterations,)``, images of the batches; their sum is that
            of ``counts`` and :func:`spare_images` (with ``drop_last``: less it).
        counts: Images in each group.
        drop_last: Full batches alone.

    Returns:
        ``groups`` and ``batch_sizes``, both of shape ``(iterations,)``. The batch sizes
        of a group sum to its count (with ``drop_last``: at most); what is missing from
        full batches is missing from the last ones of a group.
    """
    left, dealt = list(counts), [0] * len(counts)
    groups = np.zeros(len(capacities), dtype=np.int64)
    for position, capacity in enumerate(capacities.tolist()):
        fits = [g for g, n in enumerate(left) if n >= (capacity if drop_last else 1)]
        if fits:
            group = max(fits, key=lambda g: left[g] / counts[g])
        else:
            # All hold their images; a batch is to be had where the batches are fullest.
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
    """Which images of a data set are at least as wide as high.

    A :class:`MultiScaleDataset` that built its data set knows; of any other, each
    record is read through ``get_data_info``, which unpickles it.

    Args:
        dataset: A data set whose ``get_data_info`` gives ``width`` and ``height``.

    Returns:
        Shape ``(len(dataset),)``, ``bool``.
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
        if info.get("width") is None or info.get("height") is None:
            raise ValueError(
                "group_by_aspect_ratio=True needs 'width' and 'height' in the "
                f"annotation of each image, but that of image {index} has "
                f"{sorted(info)}; add them, or set group_by_aspect_ratio=False"
            )
        flags[index] = info["width"] >= info["height"]
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
    length = len(dataset)
    # MMEngine's num_batch_per_epoch puts a slice around it: its first samples.
    while type(dataset).__name__ == "_SlicedDataset":
        dataset = dataset._dataset
    if not isinstance(dataset, MultiScaleDataset):
        return None
    sizes = dataset.image_sizes()
    return None if sizes is None else sizes[:length]


class GroupedStream:
    """Batches of one group each from an endless stream of indices.

    A batch comes as soon as one group has enough images for it; up to a largest batch
    of the other waits for its turn.

    Args:
        indices: The stream.
        landscape: Shape ``(samples,)``, :func:`landscape_flags`.
    """

    def __init__(self, indices: Iterator[int], landscape: np.ndarray) -> None:
        self._indices = indices
        self._landscape = landscape
        self._waiting: Tuple[List[int], List[int]] = ([], [])

    def take(self, count: int) -> List[int]:
        """The next ``count`` indices of one group; none when the stream ends."""
        for waiting in self._waiting:
            if len(waiting) >= count:
                return self._pop(waiting, count)
        for index in self._indices:
            waiting = self._waiting[int(self._landscape[index])]
            waiting.append(index)
            if len(waiting) >= count:
                return self._pop(waiting, count)
        return []

    @staticmethod
    def _pop(waiting: List[int], count: int) -> List[int]:
        taken, waiting[:] = waiting[:count], waiting[count:]
        return taken
