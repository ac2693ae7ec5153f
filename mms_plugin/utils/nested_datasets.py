"""Data sets inside wrappers such as ``ConcatDataset`` and ``RepeatDataset``."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List

__all__ = ["leaves", "wrapped"]


def leaves(dataset: Any) -> Iterator[Any]:
    """The data sets at the bottom, which have pipelines of their own."""
    inner = wrapped(dataset)
    if not inner:
        yield dataset
    for each in inner:
        yield from leaves(each)


def wrapped(dataset: Any) -> List[Any]:
    """The data sets directly inside a wrapper; none: it is none."""
    if isinstance(getattr(dataset, "datasets", None), (list, tuple)):
        return list(dataset.datasets)
    own: Dict[str, Any] = getattr(dataset, "__dict__", {})
    inner = own.get("dataset", own.get("_dataset"))
    return [inner] if hasattr(inner, "__getitem__") else []
