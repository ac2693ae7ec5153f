"""What the batch sampler has to know about the sampler inside it."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Iterator, List, Optional, Tuple

import numpy as np
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler
from torch.utils.data.distributed import DistributedSampler

from .epoch_rest import left_over_ranks, used_on_rank

# They have a length and never end. By name: they are mmdet's, or come without a base.
_ENDLESS_SAMPLERS = {
    "InfiniteSampler",
    "MultiSourceSampler",
    "GroupMultiSourceSampler",
}

# From the start of an endless stream: the indices that can be given once more.
KEPT_INDICES = 2**16


class EpochSampler:
    """The inner sampler as MMEngine sees it.

    MMEngine announces an epoch to ``batch_sampler.sampler`` alone; from here it reaches
    the batch sampler too. All else is the inner sampler's own.

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


class EndlessStream:
    """The indices of an endless sampler, from the beginning as long as it is near.

    Such a sampler cannot be iterated anew (MMEngine's holds one generator), but the
    workers of an iteration-based loop draw ahead before the curriculum is set. What is
    drawn first is kept, so that a training still begins with the first index.

    Args:
        sampler: The endless sampler.
    """

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self._indices: Optional[Iterator[int]] = None
        self._first: Optional[List[int]] = []

    @property
    def begins_anew(self) -> bool:
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
        """Leave out indices from the beginning, for good."""
        if self._first is None:
            raise RuntimeError("indices were taken before others can be left out")
        if self._indices is None:
            self._indices = iter(self._sampler)
        kept, self._first = self._first[count:], self._first[:count]
        missing = count - len(self._first)
        next(itertools.islice(self._indices, missing, missing), None)
        self._first = kept


def is_endless(sampler: Any) -> bool:
    """Whether ``sampler`` never stops giving indices."""
    if not hasattr(sampler, "__len__"):
        return True
    return any(base.__name__ in _ENDLESS_SAMPLERS for base in type(sampler).__mro__)


def rank_and_world_size(sampler: Any) -> Tuple[int, int]:
    """Of the process that the sampler gives its share."""
    world_size = getattr(sampler, "world_size", getattr(sampler, "num_replicas", 1))
    return getattr(sampler, "rank", 0), world_size


def deals_in_turn(sampler: Any) -> bool:
    """Whether rank ``r`` of ``W`` has positions ``r, r + W, ...`` of one order."""
    dealing = (DefaultSampler, DistributedSampler, InfiniteSampler)
    return isinstance(sampler, dealing) or hasattr(sampler, "iter_from")


def pads_shares(sampler: Any) -> bool:
    """Whether ranks have equal shares, the last images of which come a second time."""
    return bool(getattr(sampler, "round_up", True))


def total_samples(sampler: Any) -> int:
    """Samples of an epoch, of all ranks together."""
    _, world_size = rank_and_world_size(sampler)
    dataset = getattr(sampler, "dataset", None)
    if pads_shares(sampler) or world_size == 1 or dataset is None:
        return len(sampler) * world_size
    return len(dataset)


def samples_over_ranks(sampler: Any, used: int = 0) -> Tuple[int, int]:
    """Most and fewest samples that any rank has, without asking the others.

    Args:
        sampler: The inner sampler.
        used: Samples of the epoch that were used before, by all ranks together. Ranks
            that have one sample fewer left get one a second time if shares are padded.
    """
    _, world_size = rank_and_world_size(sampler)
    total = total_samples(sampler)
    if used:
        # What fills up shares is left to those of today's ranks.
        total = min(total, len(sampler.dataset))
    most, fewest = left_over_ranks(total, used, world_size)
    return most, most if pads_shares(sampler) else fewest


def indices_from(sampler: Any, position: int) -> Iterator[int]:
    """The rank's indices of an epoch, from its ``position``-th on."""
    if position and hasattr(sampler, "iter_from"):
        return iter(sampler.iter_from(position))
    return itertools.islice(iter(sampler), position, None)


def indices_of_rest(sampler: Any, used: int, skip: int) -> Iterator[int]:
    """The rank's indices of what is left of an epoch.

    Args:
        sampler: The inner sampler.
        used: Samples of the epoch that were used before, by all ranks together.
        skip: Indices to leave out of this rank's rest.
    """
    rank, world_size = rank_and_world_size(sampler)
    positions = [used_on_rank(used, rank, world_size) + skip]
    if used:
        # Shares are equal: a rank with one image fewer gets one a second time.
        positions.append(0)
    # No generator of our own: a million indices would each pass through it.
    return itertools.chain.from_iterable(
        indices_from(sampler, position) for position in positions
    )


def indices_of_epoch(sampler: Any, epoch: int, current: int) -> np.ndarray:
    """All indices that the rank has in an epoch, shape ``(samples,)``.

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
        raise ended_before(sampler)
    return indices


def ended_before(sampler: Any) -> ValueError:
    """The error for a sampler that gave fewer indices than its length."""
    return ValueError(
        f"sampler must give as many indices as its length says, {len(sampler)}, but "
        f"{type(sampler).__name__} ended before"
    )


def with_seed(sampler: Any, seed: Optional[int]) -> Any:
    """The sampler as it is at its beginning with another seed."""
    if type(sampler) is InfiniteSampler:
        # It holds one generator of indices, which may have begun.
        return InfiniteSampler(sampler.dataset, sampler.shuffle, seed)
    if is_endless(sampler) or not hasattr(sampler, "seed"):
        raise ValueError(
            f"sampler must have the seed of the resumed training, {seed!r}, but "
            f"{type(sampler).__name__} takes no seed after it is built; set its seed "
            "in the config, and randomness=dict(seed=...)"
        )
    sampler.seed = seed
    return sampler


def check_dataset(dataset: Any) -> None:
    """Refuse a data set of MMEngine that would lose the batch's size."""
    from .multi_scale_dataset import MultiScaleDataset

    # MMEngine's num_batch_per_epoch puts a slice around it.
    while not isinstance(dataset, MultiScaleDataset) and hasattr(dataset, "_dataset"):
        dataset = dataset._dataset
    if isinstance(dataset, MultiScaleDataset):
        return
    name = type(dataset).__name__
    inner = list(_nested_datasets(dataset))
    if any(isinstance(d, MultiScaleDataset) for d in inner):
        raise ValueError(
            f"dataset must be a MultiScaleDataset on the outside, but got it inside "
            f"{name}: write dataset=dict(type='MultiScaleDataset', "
            f"dataset=dict(type='{name}', ...))"
        )
    if any(isinstance(d, BaseDataset) for d in inner):
        raise ValueError(
            f"dataset must be wrapped for its pipeline to learn the size of the batch, "
            f"but got {name}: write dataset=dict(type='MultiScaleDataset', "
            f"dataset=dict(type='{name}', ...))"
        )


def _nested_datasets(dataset: Any) -> Iterator[Any]:
    yield dataset
    inner = getattr(dataset, "datasets", None)
    if not isinstance(inner, (list, tuple)):
        inner = [getattr(dataset, "dataset", None)]
    for nested in inner:
        if nested is not None:
            yield from _nested_datasets(nested)
