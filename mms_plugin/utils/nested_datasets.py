"""Walk through datasets inside wrappers such as ``ConcatDataset``."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List

__all__ = ["leaves", "walk", "without_slice", "wrapped"]


def leaves(dataset: Any) -> Iterator[Any]:
    """Yield the innermost datasets, which have pipelines of their own."""
    inner = wrapped(dataset)
    if not inner:
        yield dataset
    for each in inner:
        yield from leaves(each)


def walk(dataset: Any) -> Iterator[Any]:
    """Yield the dataset and all datasets inside it."""
    yield dataset
    for each in wrapped(dataset):
        yield from walk(each)


def without_slice(dataset: Any) -> Any:
    """Return the dataset inside the slice that ``num_batch_per_epoch`` makes.

    MMEngine's slice has the first samples of a dataset, and is no dataset itself.
    """
    while type(dataset).__name__ == "_SlicedDataset":
        dataset = dataset._dataset
    return dataset


def wrapped(dataset: Any) -> List[Any]:
    """Return the datasets directly inside a wrapper; none for other datasets."""
    if isinstance(getattr(dataset, "datasets", None), (list, tuple)):
        return list(dataset.datasets)
    own: Dict[str, Any] = getattr(dataset, "__dict__", {})
    inner = own.get("dataset", own.get("_dataset"))
    return [inner] if hasattr(inner, "__getitem__") else []
