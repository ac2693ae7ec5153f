"""The batches that a dry run tries, from the training's own dataset."""

from __future__ import annotations

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from ..multi_scale.dry_run_plan import (
    DryRunPoint,
    chosen_images,
    points_of_training,
    worst_batches,
)
from ..multi_scale.image_sizes import sides_of_record
from ..multi_scale.runner_parts import multi_scale_sampler
from ..multi_scale.sized_index import sized_index_class

__all__ = [
    "IMAGES",
    "TrialBatch",
    "base_batch_size",
    "choose_batches",
    "load_batches",
    "training_points",
]

IMAGES = ("worst", "spread", "most_instances")
"""How the images of a dry run are chosen; see :func:`choose_batches`."""


class TrialBatch(NamedTuple):
    """A batch to try.

    Attributes:
        point: Its size and its number of images.
        images: Indices of its images in the dataset.
    """

    point: DryRunPoint
    images: List[int]


def base_batch_size(loader: DataLoader) -> int:
    """Return the batch size that a data loader was configured with."""
    size = getattr(loader.batch_sampler, "batch_size", None) or loader.batch_size
    return int(size or 1)


def training_points(loader: DataLoader) -> List[DryRunPoint]:
    """Return every kind of full batch that a training can draw, largest cost first.

    With another batch sampler than this package's there is only one, whose size the
    pipeline decides.

    Args:
        loader: Of the training.

    Raises:
        ValueError: The dataset does not load images by index.
    """
    sampler = multi_scale_sampler(loader)
    if sampler is not None:
        return points_of_training(sampler)
    if isinstance(loader.dataset, IterableDataset):
        raise ValueError(
            "DryRunHook needs a dataset that loads images by index, but "
            f"got {type(loader.dataset).__name__}"
        )
    return [DryRunPoint(None, base_batch_size(loader))]


def choose_batches(
    loader: DataLoader, points: Sequence[DryRunPoint], images: str = "spread"
) -> List[TrialBatch]:
    """Choose the images of each kind of batch; one kind may need two batches.

    Args:
        loader: Of the training.
        points: Kinds of batches.
        images: ``'worst'``: those that pad a batch most and those with the most
            objects; as ``'spread'`` where the dataset's records tell neither.
            ``'spread'``: at equal distances over the dataset. ``'most_instances'``:
            those with the most objects. Defaults to ``'spread'``.

    Raises:
        ValueError: ``'most_instances'``, and the records have no ``instances``.
    """
    sampler = multi_scale_sampler(loader)
    landscape = None if sampler is None else sampler.landscape
    if images == "worst":
        known = _shapes_and_instances(loader.dataset)
        if known is not None:
            return [
                TrialBatch(point, batch)
                for point in points
                for batch in worst_batches(point, *known, landscape)
            ]
    instances = None
    if images == "most_instances":
        instances = _instances(loader.dataset)
    candidates: Sequence[int] = range(len(loader.dataset))  # type: ignore[arg-type]
    if landscape is not None:
        # A batch holds one of the two kinds: take the one of most images.
        flag = 2 * landscape.sum() >= len(landscape)
        candidates = [i for i in candidates if landscape[i] == flag]
    return [
        TrialBatch(point, chosen_images(candidates, point.batch_size, instances))
        for point in points
    ]


def load_batches(loader: DataLoader, batches: Sequence[TrialBatch]) -> DataLoader:
    """Return a data loader that gives the batches in order.

    It has one worker process, whose copy of the dataset leaves the training's as it
    is: what transforms draw at random or keep in caches stays there.

    Args:
        loader: Of the training.
        batches: From :func:`choose_batches`.
    """
    indices = []
    for point, images in batches:
        index = int if point.size is None else sized_index_class(point.size)
        indices.append([index(i) for i in images])
    return DataLoader(
        loader.dataset,
        batch_sampler=indices,  # type: ignore[arg-type]
        num_workers=1,
        collate_fn=loader.collate_fn,
        # MMEngine's counts on a number of workers, which a config may lack.
        worker_init_fn=loader.worker_init_fn if loader.num_workers else None,
        multiprocessing_context=loader.multiprocessing_context
        if loader.num_workers
        else None,
        generator=torch.Generator().manual_seed(0),
    )


def _shapes_and_instances(dataset: Any) -> Optional[Tuple[np.ndarray, List[int]]]:
    """Return height, width and objects of each image; ``None`` if records lack both."""
    shapes, counts = [], []
    try:
        for index in range(len(dataset)):
            record = dataset.get_data_info(index)
            sides = sides_of_record(record)
            objects = record.get("instances")
            if None in sides and objects is None:
                return None
            # Images of unknown shape count as squares.
            shapes.append((1, 1) if None in sides else sides)
            counts.append(0 if objects is None else len(objects))
    except (AttributeError, KeyError, TypeError):
        return None
    return np.asarray(shapes, dtype=np.float64).reshape(-1, 2), counts


def _instances(dataset: Any) -> List[int]:
    """Return the number of objects of each image."""
    counts = []
    for index in range(len(dataset)):
        try:
            record = dataset.get_data_info(index)
            counts.append(len(record["instances"]))
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(
                "images='most_instances' needs an MMEngine dataset whose records "
                f"have 'instances', but got {type(dataset).__name__}; set "
                "images='spread'"
            ) from error
    return counts
