"""What the batch sampler has to know about the sampler inside it."""

from __future__ import annotations

from typing import Any, Callable, Iterator, List, Optional, Tuple

from mmengine.dataset import BaseDataset

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


def is_endless(sampler: Any) -> bool:
    """Whether ``sampler`` never stops giving indices."""
    if not hasattr(sampler, "__len__"):
        return True
    return any(base.__name__ in _ENDLESS_SAMPLERS for base in type(sampler).__mro__)


def samples_over_ranks(sampler: Any) -> Tuple[int, int]:
    """Most and fewest samples that any rank has, without asking the others."""
    world_size = getattr(sampler, "world_size", 1)
    dataset = getattr(sampler, "dataset", None)
    if getattr(sampler, "round_up", True) or world_size == 1 or dataset is None:
        return len(sampler), len(sampler)
    return -(-len(dataset) // world_size), len(dataset) // world_size


def check_dataset(dataset: Any) -> None:
    """Refuse a data set of MMEngine that would lose the batch's size."""
    from ..datasets import MultiScaleDataset

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
