"""Metrics over some of the classes that a classifier knows."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence

import torch
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

__all__ = ["ClassSubset", "restrict_sample"]


def restrict_sample(sample: Dict[str, Any], indices: Sequence[int]) -> Dict[str, Any]:
    """Return a data sample as a classifier of only these classes would give it.

    Args:
        sample: ``pred_score``, ``(num_classes,)`` probabilities, ``gt_label``.
        indices: Labels of the classes that stay, sorted, each once.

    Returns:
        A new sample: the scores of these classes, divided by their sum, which is the
        softmax over only their logits; ``gt_label`` and ``pred_label`` as positions
        among them.

    Raises:
        ValueError: The sample has no scores, or its class is not among ``indices``.
    """
    if sample.get("pred_score") is None or sample.get("gt_label") is None:
        raise ValueError(
            "ClassSubset needs pred_score and gt_label, but a data sample has only "
            f"{sorted(sample)}"
        )
    scores = torch.as_tensor(sample["pred_score"])
    if scores.ndim != 1 or len(scores) <= max(indices):
        raise ValueError(
            f"pred_score must have the shape (num_classes,) with more than "
            f"{max(indices)} classes, but has {tuple(scores.shape)}"
        )
    position = {label: number for number, label in enumerate(indices)}
    labels = torch.as_tensor(sample["gt_label"]).reshape(-1).tolist()
    missing = [label for label in labels if label not in position]
    if missing:
        raise ValueError(f"gt_label {missing[0]} is not one of the classes evaluated")
    chosen = scores[torch.as_tensor(list(indices), device=scores.device)].double()
    total = chosen.sum()
    # All 0 after the softmax over all classes: nothing tells them apart.
    kept = chosen / total if total > 0 else torch.full_like(chosen, 1 / len(chosen))
    return {
        **sample,
        "pred_score": kept.float(),
        "pred_label": kept.argmax(dim=0, keepdim=True),
        "gt_label": torch.tensor([position[label] for label in labels]),
        "num_classes": len(position),
    }


@METRICS.register_module()
class ClassSubset(BaseMetric):
    """Evaluate a metric among only the classes of the dataset.

    ImageNet-R and ImageNet-A have 200 of ImageNet-1k's classes, and are evaluated
    among these 200 logits (Hendrycks et al., 2021): a prediction of one of the other
    800 is not possible. Scores and labels are restricted, see
    :func:`restrict_sample`, and handed to the metric.

    Args:
        metric: Config of the metric, such as ``dict(type='Accuracy', topk=(1, 5))``.
        class_indices: Labels that are evaluated. Defaults to None: those of the
            dataset, ``metainfo['class_indices']`` of
            :class:`~mms_plugin.evaluation.ImageNetVariant`.

    Raises:
        ValueError: There are no class indices; samples without scores or with
            another class.
    """

    def __init__(
        self, metric: Dict[str, Any], class_indices: Optional[Sequence[int]] = None
    ) -> None:
        self.metric = METRICS.build(metric)
        super().__init__(self.metric.collect_device, self.metric.prefix)
        self.class_indices = class_indices

    @property
    def dataset_meta(self) -> Optional[dict]:
        """Meta information of the dataset, the metric's too."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict) -> None:
        self._dataset_meta = dataset_meta
        self.metric.dataset_meta = dataset_meta

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Restrict the samples and hand them on."""
        indices = self.class_indices
        if indices is None:
            indices = (self.dataset_meta or {}).get("class_indices")
        if not indices:
            raise ValueError(
                "ClassSubset needs class_indices: give them, or use the dataset "
                "ImageNetVariant, whose metainfo has them"
            )
        indices = sorted(set(indices))
        samples = [restrict_sample(sample, indices) for sample in data_samples]
        self.metric.process(data_batch, samples)

    def evaluate(self, size: int) -> dict:
        """Return the metric's own results."""
        return self.metric.evaluate(size)

    def compute_metrics(self, results: List[Any]) -> dict:
        """Return the metric's own results."""
        return self.metric.compute_metrics(results)
