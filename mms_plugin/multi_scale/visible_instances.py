"""Find the visible instances of a sample, and remove the others.

For samples of mmdet's and mmcv's transforms: ``gt_bboxes`` and other keys with one
entry per instance.
"""

from __future__ import annotations

from typing import Any, Dict

import numpy as np
import torch

# Keys whose entry i belongs to box i.
INSTANCE_KEYS = (
    "gt_bboxes",
    "gt_bboxes_labels",
    "gt_masks",
    "gt_ignore_flags",
    "gt_instances_ids",
    "gt_keypoints",
    # mmocr's and mmdet3d's
    "gt_polygons",
    "gt_texts",
    "gt_ignored",
    "gt_bboxes_3d",
    "gt_labels_3d",
    "attr_labels",
    "centers_2d",
    "depths",
)

# In pixels: with float32, a side of 32 px at 1/32 may not be exactly 1 px.
_ROUNDING = 1e-3


def visible_instances(results: Dict[str, Any], min_side: float = 1.0) -> np.ndarray:
    """Return which instances of a sample are visible.

    An instance is visible if neither side of its box is below ``min_side`` and its mask
    has a pixel (a polygon: an area of one pixel). Masks of ignored instances are not
    checked, since mmdet leaves them empty on purpose.

    Args:
        results: A sample with ``gt_bboxes``, and maybe ``gt_masks`` and
            ``gt_ignore_flags``.
        min_side: Smallest width and height of a box in pixels. Defaults to 1.0.

    Returns:
        Shape ``(instances,)``, ``bool``.
    """
    boxes = results["gt_bboxes"]
    if hasattr(boxes, "widths"):
        widths, heights = boxes.widths.numpy(), boxes.heights.numpy()
    else:
        widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    visible: np.ndarray = np.minimum(widths, heights) >= min_side - _ROUNDING
    masks = results.get("gt_masks")
    if masks is not None and len(masks) == len(visible):
        ignored = results.get("gt_ignore_flags")
        checked = visible if ignored is None else visible & ~np.asarray(ignored, bool)
        visible[checked] = _have_a_pixel(masks, boxes, checked)[checked]
    return visible


def keep_instances(results: Dict[str, Any], keep: np.ndarray) -> None:
    """Remove all other instances of a sample, in every key that belongs to them.

    Args:
        results: A sample with ``gt_bboxes``, changed in place.
        keep: Shape ``(instances,)``, ``bool``: which instances stay.
    """
    for key in INSTANCE_KEYS:
        value = results.get(key)
        # mmdet's Mosaic leaves the masks of only one of its images in the sample.
        if value is None or len(value) != len(keep):
            continue
        if key == "gt_bboxes_3d":
            results[key] = value[torch.from_numpy(keep)]
        elif isinstance(value, (list, tuple)):
            results[key] = type(value)(v for v, kept in zip(value, keep) if kept)
        else:
            results[key] = value[keep]


def _have_a_pixel(masks: Any, boxes: Any, checked: np.ndarray) -> np.ndarray:
    """Return which of the ``checked`` masks are not empty."""
    if not isinstance(masks.masks, np.ndarray):
        return np.asarray(masks.areas) >= 1.0 - _ROUNDING
    found = np.zeros(len(checked), dtype=bool)
    corners = np.asarray(getattr(boxes, "tensor", boxes))[:, :4].astype(int)
    for i in np.flatnonzero(checked):
        mask = masks.masks[i]
        x1, y1, x2, y2 = corners[i].clip(0)
        # Look inside the box first, since the masks of a large image are slow to read.
        found[i] = mask[y1:y2, x1:x2].max(initial=0) or mask.max(initial=0)
    return found
