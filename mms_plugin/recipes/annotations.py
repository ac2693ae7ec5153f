"""Predict from its annotations what a dataset loses at small sizes."""

from __future__ import annotations

import os.path as osp
from typing import Any, Iterator, List, Mapping, NamedTuple, Optional

import numpy as np
from mmengine.registry import DATASETS

from ..multi_scale.sizes import Size
from ..utils.config_types import kind_of
from ..utils.nested_datasets import inner_datasets

__all__ = ["AnnotatedBoxes", "annotated_boxes", "keeps_ratio", "lost_shares"]

# Larger annotation files take too long to read; the training reads them again.
_MOST_BYTES = 1 << 30


class AnnotatedBoxes(NamedTuple):
    """Boxes of the images of a dataset.

    Attributes:
        images: ``(height, width)`` in pixels of the image that each box lies in. Shape
            ``(boxes, 2)``.
        sides: ``(height, width)`` of each box in pixels of that image. Shape
            ``(boxes, 2)``.
        image_numbers: Number of the image that each box lies in. Shape ``(boxes,)``.
    """

    images: np.ndarray
    sides: np.ndarray
    image_numbers: np.ndarray


class LostShares(NamedTuple):
    """Shares, from 0 to 1, that are lost at a size.

    Attributes:
        boxes: Share of the boxes that become too small.
        images: Share of the images with boxes that lose all of them.
    """

    boxes: float
    images: float


def lost_shares(
    found: AnnotatedBoxes, size: Size, keep_ratio: bool, min_box_side: float = 1.0
) -> LostShares:
    """Return the shares of boxes and images that are lost at a size.

    Args:
        found: Boxes of the dataset.
        size: ``(height, width)`` in pixels.
        keep_ratio: Scale images to fit within the size. Otherwise both sides are scaled
            to it independently.
        min_box_side: Boxes with a shorter side than this, in pixels, are lost. Defaults
            to 1.
    """
    if not len(found.sides):
        return LostShares(0.0, 0.0)
    factors = np.asarray(size, dtype=np.float64) / found.images
    if keep_ratio:
        long, short = found.images.max(axis=1), found.images.min(axis=1)
        factors = np.minimum(max(size) / long, min(size) / short)[:, None]
    lost = (found.sides * factors).min(axis=1) < min_box_side
    kept = np.unique(found.image_numbers[~lost])
    images = np.unique(found.image_numbers)
    return LostShares(float(lost.mean()), 1 - len(kept) / len(images))


def annotated_boxes(
    dataset: Mapping, scope: Optional[str] = None
) -> Optional[AnnotatedBoxes]:
    """Read the boxes of a dataset from its annotations.

    Args:
        dataset: Config of the dataset, with or without wrappers.
        scope: Scope in which the dataset is looked up. Defaults to None: the current
            scope.

    Returns:
        The boxes; ``None`` if there is no annotation file, it is larger than 1 GiB, or
        its records have no boxes.
    """
    images: List[Any] = []
    sides: List[Any] = []
    numbers: List[int] = []
    number = 0
    for leaf in _leaves(dataset):
        records = _records(leaf, scope)
        if records is None:
            return None
        for record in records:
            number += 1
            for instance in record.get("instances") or ():
                if instance.get("ignore_flag"):
                    continue
                x1, y1, x2, y2 = instance["bbox"]
                images.append((record["height"], record["width"]))
                sides.append((y2 - y1, x2 - x1))
                numbers.append(number)
    if not sides:
        return None
    return AnnotatedBoxes(
        np.asarray(images, dtype=np.float64),
        np.asarray(sides, dtype=np.float64),
        np.asarray(numbers),
    )


def _leaves(dataset: Mapping) -> Iterator[Mapping]:
    inner = [nested for _, nested in inner_datasets(dataset, "")]
    if not inner:
        yield dataset
    for nested in inner:
        yield from _leaves(nested)


def _records(dataset: Mapping, scope: Optional[str]) -> Optional[List[Mapping]]:
    root, file = str(dataset.get("data_root") or ""), dataset.get("ann_file")
    if not isinstance(file, str) or not file:
        return None
    path = file if osp.isabs(file) else osp.join(root, file)
    if not osp.isfile(path) or osp.getsize(path) > _MOST_BYTES:
        return None
    changed = dict(pipeline=[], lazy_init=False, serialize_data=False)
    try:
        with DATASETS.switch_scope_and_registry(scope) as registry:
            records: List[Mapping] = registry.build({**dataset, **changed}).data_list
        for record in records:
            if record.get("instances"):
                _ = record["height"], record["width"], record["instances"][0]["bbox"]
    except Exception:
        # Any exception: the training itself reports what is wrong with the dataset.
        return None
    return records


def keeps_ratio(pipeline: Any) -> Optional[bool]:
    """Return whether the resize of a converted pipeline keeps the aspect ratio.

    Returns:
        ``None`` if the size is not set by exactly one plain resize. The annotations
        then do not tell what is lost.
    """
    found = [step for step in pipeline if kind_of(step).name == "MultiScaleTransform"]
    if len(found) != 1:
        return None
    inner = found[0]["transform"]
    name = kind_of(inner).name
    if name not in ("Resize", "RandomResize"):
        return None
    return bool(inner.get("keep_ratio", False))
