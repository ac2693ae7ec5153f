"""An index that knows the resolution of its batch."""

from __future__ import annotations

from functools import lru_cache
from typing import Tuple, Type

from .sizes import Size


class SizedIndex(int):
    """An ``int`` that carries the resolution of its batch.

    It indexes any list and survives pickling to a worker process. Made by
    ``sized_index_class(size)(index)``: the size lives on a class per resolution, so
    that an index is as small, and nearly as fast to make, as a plain ``int``.
    Arithmetic gives a plain ``int``.

    Attributes:
        size: ``(height, width)`` in pixels.
    """

    __slots__ = ()
    size: Size

    def __reduce__(self) -> Tuple:
        return _make, (self.size, int(self))


@lru_cache(maxsize=None)
def sized_index_class(size: Size) -> Type[SizedIndex]:
    """The class of the indices of batches at ``size``, one for each size."""
    return type("SizedIndex", (SizedIndex,), {"size": size, "__slots__": ()})


def _make(size: Size, index: int) -> SizedIndex:
    return sized_index_class(size)(index)
