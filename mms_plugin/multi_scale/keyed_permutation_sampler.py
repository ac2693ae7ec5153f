"""A shuffling sampler in constant memory."""

from __future__ import annotations

from typing import Iterator, Optional, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ..utils.validation import parse_bool, parse_int
from .keyed_permutation import BLOCK, KeyedPermutation

# Makes the keys differ from those of the plans, which have the same seed and epoch.
_KEY = 0x5EED


@DATA_SAMPLERS.register_module()
class KeyedPermutationSampler(Sampler):
    """MMEngine's ``DefaultSampler`` in constant memory, for datasets of any length.

    Each epoch is another pseudorandom permutation of the dataset, computed index by
    index (:class:`KeyedPermutation`). As in ``DefaultSampler``, the ``j``-th index of a
    rank is the permutation's at position ``j * world_size + rank``; the permutations of
    the two samplers differ. :meth:`iter_from` starts at any position of an epoch
    without computing those before.

    The permutation depends on the seed and the epoch only, so that it is the same for
    any number of ranks.

    Args:
        dataset: Anything with a length.
        shuffle: ``False`` keeps the dataset's order. Defaults to ``True``.
        seed: Seed of the order, the same on every rank. Defaults to one shared through
            MMEngine.
        round_up: Repeat the first indices so that all ranks have equally many.
            ``False``: each index exactly once; some ranks have one less. Defaults to
            ``True``.
        rank: Rank whose share this is. Defaults to the rank of this process.
        world_size: Number of ranks that share the epoch. Defaults to the number of
            processes. Set it where several processes load the same data, and for
            simulations.

    Attributes:
        epoch: The current epoch, from 0.
        num_samples: Indices of this rank in an epoch.
        total_size: Indices of all ranks in an epoch.

    Raises:
        ValueError: ``seed``, ``rank`` or ``world_size`` is not valid.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: Optional[int] = None,
        round_up: bool = True,
        *,
        rank: Optional[int] = None,
        world_size: Optional[int] = None,
    ) -> None:
        own_rank, processes = get_dist_info()
        self.world_size = processes
        if world_size is not None:
            self.world_size = parse_int(world_size, "world_size")
        self.rank = own_rank
        if rank is not None:
            self.rank = parse_int(rank, "rank", minimum=0)
        if self.rank >= self.world_size:
            raise ValueError(
                f"rank must be less than world_size={self.world_size}, "
                f"but got {self.rank}"
            )
        self.dataset = dataset
        self.shuffle = parse_bool(shuffle, "shuffle")
        if seed is None:
            seed = sync_random_seed()
        self.seed = parse_int(seed, "seed", minimum=0)
        self.epoch = 0
        self.round_up = parse_bool(round_up, "round_up")
        length = len(dataset)
        if self.round_up:
            self.num_samples = -(-length // self.world_size)
            self.total_size = self.num_samples * self.world_size
        else:
            self.num_samples = -(-(length - self.rank) // self.world_size)
            self.total_size = length

    def __iter__(self) -> Iterator[int]:
        return self.iter_from(0)

    def iter_from(self, position: int) -> Iterator[int]:
        """Return this rank's indices of the epoch from a position on.

        Args:
            position: From 0 to the number of this rank's indices.

        Raises:
            ValueError: ``position`` is not valid.
        """
        parse_int(position, "position", minimum=0)
        if position > self.num_samples:
            raise ValueError(
                f"position must be at most {self.num_samples}, this rank's number of "
                f"indices, but got {position}"
            )
        # A later set_epoch has no effect on this iterator.
        return self._indices(position, self.epoch)

    def _indices(self, position: int, epoch: int) -> Iterator[int]:
        length = len(self.dataset)
        permutation = KeyedPermutation(length, [_KEY, self.seed, epoch])
        while position < self.num_samples:
            stop = min(position + BLOCK, self.num_samples)
            numbers = np.arange(position, stop, dtype=np.int64) * self.world_size
            numbers = (numbers + self.rank) % length
            yield from (permutation(numbers) if self.shuffle else numbers).tolist()
            position = stop

    def __len__(self) -> int:
        """Return the number of indices of this rank in an epoch."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which has its own order."""
        self.epoch = parse_int(epoch, "epoch", minimum=0)
