"""Read the properties of the inner sampler that the batch sampler needs."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Iterable, Iterator, List, Optional

import numpy as np
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data.distributed import DistributedSampler

from .shares import Shares, used_on_rank

# They have a length and never end. By name: they are mmdet's, or have no common base.
_ENDLESS_SAMPLERS = {
    "InfiniteSampler",
    "MultiSourceSampler",
    "GroupMultiSourceSampler",
}

# Samplers of mmdet that draw with a state which no checkpoint has: that of NumPy, or
# one that continues from epoch to epoch.
_NOT_RESUMABLE = {"GroupMultiSourceSampler", "CustomSampleSizeSampler"}

# How many indices from the start of an endless sampler can be given once more.
KEPT_INDICES = 2**16


class EpochListener:
    """The inner sampler, with a call to the batch sampler at every new epoch.

    MMEngine announces an epoch to ``batch_sampler.sampler`` only. Everything else is
    the inner sampler's own.

    Args:
        sampler: The inner sampler.
        set_epoch: Called with every epoch that is announced.
    """

    def __init__(self, sampler: Any, set_epoch: Callable[[int], None]) -> None:
        self._sampler = sampler
        self.set_epoch = set_epoch

    def __iter__(self) -> Iterator[int]:
        return iter(self._sampler)

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._sampler, name)


class RewindableIndices:
    """The indices of an endless sampler, which can be read again from the start.

    Such a sampler cannot be iterated a second time (MMEngine's holds one generator),
    but the workers of an iteration-based loop draw ahead before the curriculum is set.
    The first indices are kept, so that a training still begins with the first one.

    Args:
        sampler: The endless sampler.
    """

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self._indices: Optional[Iterator[int]] = None
        self._first: Optional[List[int]] = []

    @property
    def can_rewind(self) -> bool:
        """Whether the next iteration starts from the first index."""
        return self._first is not None

    def __iter__(self) -> Iterator[int]:
        if self._indices is None:
            self._indices = iter(self._sampler)
        yield from tuple(self._first or ())
        for index in self._indices:
            if self._first is not None:
                self._first.append(index)
                if len(self._first) > KEPT_INDICES:
                    self._first = None
            yield index

    def skip(self, count: int) -> None:
        """Drop indices from the beginning, for good."""
        if self._first is None:
            raise RuntimeError("too many indices were taken to skip from the beginning")
        if self._indices is None:
            self._indices = iter(self._sampler)
        kept, self._first = self._first[count:], self._first[:count]
        missing = count - len(self._first)
        next(itertools.islice(self._indices, missing, missing), None)
        self._first = kept


def is_endless(sampler: Any) -> bool:
    """Return whether ``sampler`` never stops giving indices."""
    if not hasattr(sampler, "__len__"):
        return True
    return any(base.__name__ in _ENDLESS_SAMPLERS for base in type(sampler).__mro__)


def resumes_exactly(sampler: Any) -> bool:
    """Return whether a resumed sampler continues as an uninterrupted one."""
    return all(base.__name__ not in _NOT_RESUMABLE for base in type(sampler).__mro__)


def has_shares_of_sources(sampler: Any) -> bool:
    """Return whether each source has its share of every batch of the sampler."""
    return hasattr(sampler, "source_ratio")


def check_shares_of_sources(sampler: Any, batch_sizes: Iterable[int]) -> None:
    """Refuse batch sizes that cut the batches of a sampler of several sources.

    mmdet's ``MultiSourceSampler`` gives the indices of whole batches, in which each
    source has its share.

    Args:
        sampler: The inner sampler.
        batch_sizes: Images of a batch, of every size.

    Raises:
        ValueError: A batch size is no multiple of the sampler's.
    """
    whole = getattr(sampler, "batch_size", None)
    if not has_shares_of_sources(sampler) or not isinstance(whole, int):
        return
    cut = sorted({size for size in batch_sizes if size % whole})
    if cut:
        raise ValueError(
            f"batch_sizes must be multiples of {whole}, the batch_size of "
            f"{type(sampler).__name__}, so that every batch has images of each source, "
            f"but got {cut[0]}: set sizes with batch_sizes=[...], or "
            "variable_batch=False"
        )


def deals_in_turn(sampler: Any) -> bool:
    """Return whether rank ``r`` of ``W`` has positions ``r, r + W, ...``."""
    dealing = (DefaultSampler, DistributedSampler, InfiniteSampler)
    return isinstance(sampler, dealing) or hasattr(sampler, "iter_from")


def shares_of(sampler: Any) -> Shares:
    """Return how a sampler shares out its samples, without asking other ranks."""
    rank = getattr(sampler, "rank", 0)
    world_size = getattr(sampler, "world_size", getattr(sampler, "num_replicas", 1))
    padded = bool(getattr(sampler, "round_up", True))
    dataset = getattr(sampler, "dataset", None)
    on_rank = len(sampler) if hasattr(sampler, "__len__") else 1
    total = on_rank * world_size
    distinct = total if dataset is None else len(dataset)
    if not padded and world_size > 1 and dataset is not None:
        # The shares differ: only the sampler knows their sum.
        total = int(getattr(sampler, "total_size", distinct))
    return Shares(rank, world_size, on_rank, total, distinct, padded)


def remaining_indices(
    sampler: Any, shares: Shares, used: int, skip: int
) -> Iterator[int]:
    """Return the rank's indices of the rest of an epoch.

    Args:
        sampler: The inner sampler.
        shares: From :func:`shares_of`.
        used: Samples of the epoch that were used before, by all ranks together.
        skip: Indices of this rank to leave out after those.
    """
    start = used_on_rank(used, shares.rank, shares.world_size) + skip
    if start and hasattr(sampler, "iter_from"):
        # From the end of an epoch with other ranks nothing may be left.
        indices = iter(sampler.iter_from(min(start, len(sampler))))
    else:
        indices = itertools.islice(iter(sampler), start, None)
    # Equal shares: a rank with one image fewer gets one a second time.
    return itertools.chain(indices, sampler) if used else indices


def indices_of_epoch(sampler: Any, epoch: int, current: int) -> np.ndarray:
    """Return all indices that the rank has in an epoch, shape ``(samples,)``.

    Args:
        sampler: The inner sampler.
        epoch: Number of the epoch.
        current: The epoch that the sampler is in, and is left in.
    """
    set_epoch = getattr(sampler, "set_epoch", lambda epoch: None)
    set_epoch(epoch)
    try:
        indices = np.fromiter(sampler, dtype=np.int64)
    finally:
        set_epoch(current)
    if len(indices) != len(sampler):
        raise too_few_indices(sampler)
    return indices


def too_few_indices(sampler: Any) -> ValueError:
    """Return the error for a sampler that gave fewer indices than its length."""
    return ValueError(
        f"sampler must give as many indices as its length says, {len(sampler)}, but "
        f"{type(sampler).__name__} ended before"
    )


def with_seed(sampler: Any, seed: Optional[int]) -> Any:
    """Return the sampler as it is at its beginning with another seed."""
    if type(sampler) is InfiniteSampler:
        # It holds one generator of indices, which may have begun.
        return InfiniteSampler(sampler.dataset, sampler.shuffle, seed)
    if is_endless(sampler) or not hasattr(sampler, "seed"):
        raise ValueError(
            f"sampler must begin again with seed={seed!r}, that of the training, but "
            f"{type(sampler).__name__} takes no seed after it is built; set its seed "
            "in the config, and randomness=dict(seed=...)"
        )
    sampler.seed = seed
    return sampler
