"""Panoptic quality on drawn scenes, in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from tools.demo.scenes import SHAPES

BACKGROUND = len(SHAPES)
"""Category of the pixels that show no object."""

_INSTANCE_OFFSET = 1000  # mmdet's: an id is category + 1000 * instance

Counts = Tuple[float, int, int, int]
"""Sum of the IoUs of the matches, matches, false positives, false negatives."""


def compare_segments(
    predicted: np.ndarray, truth: np.ndarray, num_categories: int
) -> List[Counts]:
    """Match the segments of one image; return the counts of each category.

    A predicted segment matches a true one of its category if their IoU is above 0.5;
    there can be only one.

    Args:
        predicted: Integer ids of the pixels, ``category + 1000 * instance``. Categories
            from ``num_categories`` on are no segments.
        truth: The same.
        num_categories: Number of categories.

    Source: arXiv 1801.00868, section 4.
    """
    counts = [[0.0, 0, 0, 0] for _ in range(num_categories)]
    true_ids = _segments(truth, num_categories)
    matched = set()
    for segment in _segments(predicted, num_categories):
        category = segment % _INSTANCE_OFFSET
        mask = predicted == segment
        for other in true_ids:
            if other % _INSTANCE_OFFSET != category:
                continue
            shared = np.logical_and(mask, truth == other).sum()
            iou = shared / np.logical_or(mask, truth == other).sum()
            if iou > 0.5:
                matched.add(other)
                counts[category][0] += float(iou)
                counts[category][1] += 1
                break
        else:
            counts[category][2] += 1
    for other in true_ids:
        if other not in matched:
            counts[other % _INSTANCE_OFFSET][3] += 1
    return [(row[0], int(row[1]), int(row[2]), int(row[3])) for row in counts]


def _segments(ids: np.ndarray, num_categories: int) -> List[int]:
    found = [int(value) for value in np.unique(ids)]
    return [value for value in found if value % _INSTANCE_OFFSET < num_categories]


def panoptic_quality(images: Sequence[Sequence[Counts]]) -> float:
    """Return the panoptic quality, the mean over the categories that occur.

    Args:
        images: Counts of each category, see :func:`compare_segments`, of each image.

    Returns:
        float: Between 0 and 1.
    """
    qualities = []
    for rows in zip(*images):
        iou, matches, wrong, missed = (sum(column) for column in zip(*rows))
        if matches + wrong + missed:
            qualities.append(iou / (matches + 0.5 * wrong + 0.5 * missed))
    return float(np.mean(qualities)) if qualities else 0.0


@METRICS.register_module()
class ScenesPanopticQuality(BaseMetric):
    """Panoptic quality of mmdet's panoptic predictions on drawn scenes.

    ``'scenes/PQ'``, between 0 and 1; the background is a category of its own.

    Args:
        folder: Folder that :func:`lab.scenes.draw` returned.
    """

    default_prefix = "scenes"

    def __init__(self, folder: Union[str, Path]) -> None:
        super().__init__()
        self._maps = np.load(Path(folder) / "maps.npy", mmap_mode="r")
        with np.load(Path(folder) / "objects.npz") as arrays:
            self._labels, self._offsets = arrays["labels"], arrays["offsets"]

    def process(self, data_batch: Any, data_samples: Sequence[Dict[str, Any]]) -> None:
        """Compare the predictions of one batch."""
        for sample in data_samples:
            ids = sample["pred_panoptic_seg"]["sem_seg"][0].cpu().numpy()
            truth = self._truth(sample["img_id"])[: ids.shape[0], : ids.shape[1]]
            self.results.append(compare_segments(ids, truth, BACKGROUND + 1))

    def _truth(self, index: int) -> np.ndarray:
        labels = self._labels[self._offsets[index] : self._offsets[index + 1]]
        instances = np.arange(1, len(labels) + 1)
        ids = np.array([BACKGROUND, *(labels + _INSTANCE_OFFSET * instances)])
        return ids[self._maps[index]]

    def compute_metrics(self, results: List[List[Counts]]) -> Dict[str, float]:
        """Return the panoptic quality of all images."""
        return dict(PQ=panoptic_quality(results))
