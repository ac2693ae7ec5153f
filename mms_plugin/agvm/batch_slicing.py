"""Count and slice the images of a batch, in any form that a model takes it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
from mmengine.structures import BaseDataElement
from torch import Tensor

__all__ = ["count_images", "first_images"]

_PLAIN = (type(None), bool, int, float, str, bytes)


def count_images(data: Mapping[str, Any]) -> int:
    """Return the number of images that a model's ``forward`` is called with.

    Args:
        data: Arguments by name. The length of ``data_samples`` counts if it is a
            list; else that of the first tensor, array or list.

    Raises:
        ValueError: Nothing in ``data`` has a length.
    """
    for value in (data.get("data_samples"), *data.values()):
        size = _length(value)
        if size is not None:
            return size
    raise ValueError("it was called without a batch")


def _length(value: Any) -> Optional[int]:
    if isinstance(value, (Tensor, np.ndarray)):
        return int(value.shape[0]) if value.ndim else None
    if isinstance(value, (list, tuple)):
        return len(value)
    if isinstance(value, Mapping):
        lengths = (_length(part) for part in value.values())
        return next((length for length in lengths if length is not None), None)
    return None


def first_images(data: Any, size: int, count: int) -> Any:
    """Return a copy of the first ``count`` of ``size`` images.

    Tensors and arrays are sliced along their first dimension. Lists and tuples with
    one entry per image are sliced; other ones, those of one stacked tensor per view,
    and mappings are sliced entry by entry. Numbers, strings and None are kept.

    Args:
        data: Any nesting of these.
        size: Images in the batch.
        count: Images to return.

    Returns:
        The same nesting. Changes to it do not reach ``data``.

    Raises:
        ValueError: An entry has another length or an unknown type.
    """
    if isinstance(data, _PLAIN):
        return data
    if isinstance(data, (Tensor, np.ndarray)):
        if data.ndim and data.shape[0] == size:
            if isinstance(data, Tensor):
                return data[:count].detach().clone()
            return data[:count].copy()
        raise ValueError(
            f"it holds an array of shape {tuple(data.shape)}, which is no batch of "
            f"{size} images"
        )
    if isinstance(data, (list, tuple)):
        if len(data) == size and not all(_is_stacked(item, size) for item in data):
            parts = [_copy(item) for item in data[:count]]
        else:
            parts = [first_images(item, size, count) for item in data]
        if hasattr(data, "_fields"):  # a namedtuple
            return type(data)(*parts)
        return type(data)(parts)
    if isinstance(data, Mapping):
        return {key: first_images(value, size, count) for key, value in data.items()}
    sized = isinstance(data, BaseDataElement) and hasattr(data, "__len__")
    if sized and len(data) == size:
        return copy.deepcopy(data[:count])
    raise ValueError(
        f"it holds a {type(data).__name__}, which cannot be cut into images"
    )


def _is_stacked(item: Any, size: int) -> bool:
    """Return whether it is a view of all images, not an image of several channels."""
    is_array = isinstance(item, (Tensor, np.ndarray))
    return is_array and item.ndim >= 4 and item.shape[0] == size


def _copy(item: Any) -> Any:
    # A deep copy of a tensor copies all that it is a view of.
    return item.detach().clone() if isinstance(item, Tensor) else copy.deepcopy(item)
