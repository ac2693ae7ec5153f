"""Walk through datasets, or configs of them, in wrappers such as ``ConcatDataset``."""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, Tuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["inner_datasets", "walk", "with_pipelines", "without_slice", "wrapped"]


def inner_datasets(dataset: Mapping, place: str) -> Iterator[Tuple[str, Any]]:
    """Yield the datasets that a wrapper's config holds, with their paths."""
    if not isinstance(dataset.get("dataset"), (str, type(None))):
        yield f"{place}.dataset", dataset["dataset"]
    members = dataset.get("datasets")
    if isinstance(members, (list, tuple)):
        for index, member in enumerate(members):
            if not isinstance(member, str):  # an argument of the dataset's own
                yield f"{place}.datasets[{index}]", member


def walk(dataset: Any) -> Iterator[Any]:
    """Yield the dataset and all datasets inside it."""
    yield dataset
    for each in wrapped(dataset):
        yield from walk(each)


def with_pipelines(dataset: Any) -> Iterator[Any]:
    """Yield the datasets that have a callable pipeline of their own, each once.

    A user's wrapper may keep its dataset in an attribute of any name.
    """
    pending, seen = [dataset], set()
    while pending:
        each = pending.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        own: Dict[str, Any] = getattr(each, "__dict__", {})
        inner = wrapped(each) or [v for v in own.values() if isinstance(v, Dataset)]
        pending = inner + pending
        # A wrapper's pipeline may be that of the dataset inside.
        if callable(getattr(each, "pipeline", None)) and (
            "pipeline" in own or not inner
        ):
            yield each


def without_slice(dataset: Any) -> Any:
    """Return the dataset inside the slice that ``num_batch_per_epoch`` makes.

    MMEngine's slice has the first samples of a dataset, and is no dataset itself.
    """
    while type(dataset).__name__ == "_SlicedDataset":
        dataset = dataset._dataset
    return dataset


def wrapped(dataset: Any) -> List[Any]:
    """Return the datasets directly inside a wrapper; none for other datasets."""
    parts = getattr(dataset, "datasets", None)
    if isinstance(parts, (list, tuple)) and parts and all(map(_is_dataset, parts)):
        return list(parts)
    own: Dict[str, Any] = getattr(dataset, "__dict__", {})
    inner = own.get("dataset", own.get("_dataset"))
    return [inner] if _is_dataset(inner) else []


def _is_dataset(value: Any) -> bool:
    """Return whether it is one, not the name or the records of one."""
    plain = (str, bytes, Mapping, list, tuple, np.ndarray, Tensor)
    return hasattr(value, "__getitem__") and not isinstance(value, plain)
