"""A shuffling sampler that holds nothing of the data set's length."""

from __future__ import annotations

from typing import Iterator, Optional, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

from ..utils.validation import parse_int
from .keyed_permutation import BLOCK, KeyedPermutation

# Sets the keys apart from those of the plans, which have the same seed and epoch.
_KEY = 0x5EED


@DATA_SAMPLERS.register_module()
class KeyedPermutationSampler(Sampler):
    """MMEngine's ``DefaultSampler`` in constant memory, for data sets of any length.

    Each epoch is another pseudorandom permutation of the data set, computed index by
    index (:class:`KeyedPermutation`). Index ``j`` of a rank is number ``j *
    world_size + rank`` of it, as in ``DefaultSampler``; the orders of the two differ.
    Any place of an epoch is found at once: :meth:`iter_from`.

    The order depends on the seed and the epoch alone, so that a run with another number
    of ranks deals out the same permutation.

    Args:
        dataset: Anything with a length.
        shuffle: ``False``: the data set's own order.
        seed: Seed of the order, the same on every rank. Defaults to one shared through
            MMEngine.
        round_up: Wrap round to the permutation's first indices so that every rank has
            as many. ``False``: each index exactly once; some ranks have one less.
        rank: Which share of the epoch; defaults to this process's rank.
        world_size: Among how many the epoch is shared; defaults to all processes. For
            processes that share their data with others, and for simulations.

    Attributes:
        epoch: Set by :meth:`set_epoch`.
        num_samples: Indices of this rank in an epoch.
        total_size: Indices of all ranks in an epoch.

    Raises:
        ValueError: The seed is no integer of at least 0, or there is no such rank.
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
        self.shuffle = bool(shuffle)
        if seed is None:
            seed = sync_random_seed()
        self.seed = parse_int(seed, "seed", minimum=0)
        self.epoch = 0
        self.round_up = bool(round_up)
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
        """This rank's indices of the epoch from its ``position``-th on.

        Those before are not computed.

        Args:
            position: From 0 to the number of this rank's indices.

        Raises:
            ValueError: There is no such position.
        """
        parse_int(position, "position", minimum=0)
        if position > self.num_samples:
            raise ValueError(
                f"position must be at most {self.num_samples}, this rank's number of "
                f"indices, but got {position}"
            )
        return self._chunks(position, self.epoch)

    def _chunks(self, position: int, epoch: int) -> Iterator[int]:
        # Bound at the call: an epoch that is announced later is for the next iterator.
        length = len(self.dataset)
        permutation = KeyedPermutation(length, [_KEY, self.seed, epoch])
        while position < self.num_samples:
            stop = min(position + BLOCK, self.num_samples)
            numbers = np.arange(position, stop, dtype=np.int64) * self.world_size
            numbers = (numbers + self.rank) % length
            yield from (permutation(numbers) if self.shuffle else numbers).tolist()
            position = stop

    def __len__(self) -> int:
        """Indices of this rank in an epoch."""
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch: another order."""
        self.epoch = parse_int(epoch, "epoch", minimum=0)
