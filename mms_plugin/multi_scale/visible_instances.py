"""Which instances of a sample can still be seen, and how the others go.

For samples as mmdet's and mmcv's transforms pass them on: ``gt_bboxes`` and what
belongs to them, one entry an instance.
"""

from __future__ import annotations

from typing import Any, Dict

import numpy as np

# Entry i of each belongs to box i.
INSTANCE_KEYS = (
    "gt_bboxes",
    "gt_bboxes_labels",
    "gt_masks",
    "gt_ignore_flags",
    "gt_instances_ids",
    "gt_keypoints",
)

# Of a pixel: coordinates are float32, a side of 32 at 1/32 need not be exactly 1.
_ROUNDING = 1e-3


def visible_instances(results: Dict[str, Any], min_side: float = 1.0) -> np.ndarray:
    """Which instances of a sample are there to be seen.

    Args:
        results: A sample with ``gt_bboxes``; ``gt_masks`` and ``gt_ignore_flags`` are
            read if there.
        min_side: Least width and least height of a box in pixels.

    Returns:
        Shape ``(instances,)``, ``bool``: the box is not below ``min_side``, and the
        mask of an instance that is not ignored has a pixel (a polygon: an area of one
        pixel). mmdet gives ignored instances empty masks on purpose.
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
        judged = visible if ignored is None else visible & ~np.asarray(ignored, bool)
        visible[judged] = _have_a_pixel(masks, boxes, judged)[judged]
    return visible


def keep_instances(results: Dict[str, Any], keep: np.ndarray) -> None:
    """Keep some instances of a sample, in everything that belongs to them.

    Args:
        results: A sample with ``gt_bboxes``, changed in place.
        keep: Shape ``(instances,)``, ``bool``.
    """
    for key in INSTANCE_KEYS:
        value = results.get(key)
        # mmdet's Mosaic leaves masks behind that are of one image alone.
        if value is None or len(value) != len(keep):
            continue
        if isinstance(value, (list, tuple)):
            results[key] = type(value)(v for v, kept in zip(value, keep) if kept)
        else:
            results[key] = value[keep]


def _have_a_pixel(masks: Any, boxes: Any, judged: np.ndarray) -> np.ndarray:
    """Which of the masks that are ``judged`` are not empty."""
    if not isinstance(masks.masks, np.ndarray):
        return np.asarray(masks.areas) >= 1.0 - _ROUNDING
    found = np.zeros(len(judged), dtype=bool)
    corners = np.asarray(getattr(boxes, "tensor", boxes))[:, :4].astype(int)
    for i in np.flatnonzero(judged):
        mask = masks.masks[i]
        x1, y1, x2, y2 = corners[i].clip(0)
        # Where the box is, first: all of a large image's masks take their time.
        found[i] = mask[y1:y2, x1:x2].max(initial=0) or mask.max(initial=0)
    return found
