"""What sizes would take from a dataset, by its annotations where they are there."""

from __future__ import annotations

import os.path as osp
from typing import Any, Iterator, List, Mapping, NamedTuple, Optional

import numpy as np
from mmengine.registry import DATASETS

from ..multi_scale.sizes import Size
from .config_edits import kind_of
from .datasets import inner_datasets

__all__ = ["AnnotatedBoxes", "annotated_boxes", "keeps_ratio", "lost_shares"]

# Larger files take long to read, and the training reads them once more.
_MOST_BYTES = 1 << 30


class AnnotatedBoxes(NamedTuple):
    """Boxes of a dataset's images.

    Attributes:
        images: ``(height, width)`` of each box's image in pixels, shape
            ``(boxes, 2)``.
        sides: ``(height, width)`` of each box at that size, shape ``(boxes, 2)``.
        image_numbers: Which image each box lies in, shape ``(boxes,)``.
    """

    images: np.ndarray
    sides: np.ndarray
    image_numbers: np.ndarray


class LostShares(NamedTuple):
    """Shares, from 0 to 1: of the boxes, and of the images that have boxes."""

    boxes: float
    images: float


def lost_shares(
    found: AnnotatedBoxes, size: Size, keep_ratio: bool, min_box_side: float = 1.0
) -> LostShares:
    """Return the shares that a size would lose.

    Args:
        found: The boxes.
        size: ``(height, width)`` in pixels.
        keep_ratio: Images are scaled to lie within the size; else each side to its own.
        min_box_side: In pixels. Defaults to 1.
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
        dataset: Its config, with or without wrappers.
        scope: The config's, in which the dataset is looked up. Defaults to the one in
            use.

    Returns:
        The boxes; ``None`` where there is no annotation file, where it is larger than
        1 GiB, or its records have no boxes.
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
        # Of any kind: what is wrong with the dataset is said by the training itself.
        return None
    return records


def keeps_ratio(pipeline: Any) -> Optional[bool]:
    """Whether a converted pipeline's resize keeps the ratio.

    Returns:
        ``None`` where the size is set in another way than by one plain resize, so that
        annotations do not tell what it takes.
    """
    found = [step for step in pipeline if kind_of(step).name == "MultiScaleTransform"]
    if len(found) != 1:
        return None
    inner = found[0]["transform"]
    name = kind_of(inner).name
    if name not in ("Resize", "RandomResize"):
        return None
    return bool(inner.get("keep_ratio", False))
