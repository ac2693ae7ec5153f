"""Load training images at the base size, beside a training at many sizes."""

from __future__ import annotations

from typing import Any, List

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import DataLoader

from ..utils.random_state import mixed_seed
from .keyed_permutation import KeyedPermutation
from .multi_scale_dataset import MultiScaleDataset
from .multi_scale_variable_batch_sampler import MultiScaleVariableBatchSampler
from .sized_index import SizedBatch, sized_batch

__all__ = ["base_size_loader"]

# Makes the images differ from the first ones of a KeyedPermutationSampler's epoch.
_KEY = 0xBA5E


def base_size_loader(loader: DataLoader, num_batches: int) -> DataLoader:
    """Return a data loader of a few training batches, all at the base size.

    It has the dataset, the collate function and the workers of the training's loader,
    and leaves that loader as it is. Which images it gives, and what is random in
    loading them, depends only on the seed of the sampler. Each rank has images of its
    own.

    Args:
        loader: The training's, with a ``MultiScaleVariableBatchSampler``.
        num_batches: Number of batches of each rank, of the base batch size. Fewer where
            the dataset has fewer.
    """
    sampler: Any = loader.batch_sampler
    dataset: Any = loader.dataset
    if isinstance(dataset, MultiScaleDataset):
        dataset = dataset.counted_apart()
    return DataLoader(
        dataset,
        batch_sampler=_base_batches(sampler, len(dataset), num_batches),
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
    )


def _base_batches(
    sampler: MultiScaleVariableBatchSampler, num_images: int, num_batches: int
) -> List[SizedBatch]:
    rank, world_size = get_dist_info()
    images = sampler.batch_size
    count = max(1, min(num_batches, num_images // (images * world_size)))
    places = np.arange(count * images, dtype=np.int64) * world_size + rank
    # A dataset of less than one batch gives some images twice.
    permutation = KeyedPermutation(num_images, [_KEY, sampler.seed])
    indices = permutation(places % num_images).reshape(count, images).tolist()
    return [
        sized_batch(batch, sampler.base_size, mixed_seed(sampler.seed, _KEY, number))
        for number, batch in enumerate(indices)
    ]
