"""An index that knows the resolution of its batch."""

from __future__ import annotations

import operator
from collections import Counter
from functools import cache
from itertools import repeat
from typing import Any, Iterable, List, Optional, Tuple, Type

from ..utils.random_state import mixed_seed
from .sizes import Size


class SizedIndex(int):
    """An ``int`` that carries the resolution of its batch.

    It indexes any list and survives pickling to a worker process. Made by
    ``sized_index_class(size)(index)``: the size lives on a class per resolution, so
    that an index is nearly as fast to make as a plain ``int``. Arithmetic gives a
    plain ``int``.

    Attributes:
        size: ``(height, width)`` in pixels.
        seed: Seed of the random transforms of the sample. If a batch holds an index
            several times, each time has its own. ``None`` leaves the generators of the
            process as they are.
    """

    size: Size
    seed: Optional[int] = None

    def __reduce__(self) -> Tuple:
        return _sized_index, (self.size, int(self), self.seed)


@cache
def sized_index_class(size: Size) -> Type[SizedIndex]:
    """Return the class of the indices of batches at ``size``, one for each size."""
    return type("SizedIndex", (SizedIndex,), {"size": size})


class SizedBatch(List[SizedIndex]):
    """The indices of a batch, pickled as plain integers with their size and seed.

    Pickled one by one, as in a plain list, they take many times as long.
    """

    def __reduce__(self) -> Tuple:
        first = self[0] if self else None
        if getattr(first, "__dict__", None):
            assert first is not None
            seed: Any = first.seed
            made_from = (list(map(int, self)), first.size, seed)
            if self._shares(first) or self._equals(sized_batch(*made_from)):
                return sized_batch, made_from
        return list, (list(self),)  # changed by the caller

    def _shares(self, first: SizedIndex) -> bool:
        own = map(getattr, self, repeat("__dict__"), repeat(None))
        return all(map(operator.is_, own, repeat(first.__dict__)))

    def _equals(self, other: SizedBatch) -> bool:
        return all(
            type(mine) is type(its) and mine.__dict__ == its.__dict__
            for mine, its in zip(self, other)
        )


def sized_batch(indices: Iterable[int], size: Size, seed: int) -> SizedBatch:
    """Return the indices of a batch at ``size``, with the batch's seed.

    An index that comes more than once has another seed each time, so that its image
    is augmented anew.
    """
    indices = list(indices)
    try:
        batch = SizedBatch(map(sized_index_class(size), indices))
    except (TypeError, ValueError) as error:
        raise TypeError(
            "the sampler in the batch sampler must give whole numbers as indices, but "
            f"gave {indices[0]!r}"
        ) from error
    # One for all of them: in place of a dictionary for each index.
    shared = {"seed": seed}
    for index in batch:
        index.__dict__ = shared
    if len(set(batch)) < len(batch):
        times: Counter[int] = Counter()
        for index in batch:
            if times[index]:
                index.__dict__ = {"seed": mixed_seed(times[index], begin=seed)}
            times[index] += 1
    return batch


def _sized_index(size: Size, index: int, seed: Optional[int] = None) -> SizedIndex:
    sized = sized_index_class(size)(index)
    if seed is not None:
        sized.seed = seed
    return sized
