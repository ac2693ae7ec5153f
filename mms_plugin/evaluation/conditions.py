"""Evaluations of checkpoints over sizes and corruptions: what is run, what it gave."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from ..utils.tables import markdown_table
from .corruptions import CORRUPTIONS, corrupted_pipeline, summarize_corruptions
from .pipeline_size import Pipeline, pipeline_at_size

__all__ = [
    "Condition",
    "headline_metric",
    "metric_value",
    "plan_conditions",
    "summarize",
    "to_table",
]

# Average precision, whoever counts it: bbox_mAP, bbox_AP, AP50.
_AP = re.compile(r"(^|[/_])m?AP")

# What a table shows of the metrics that the libraries give, the first that is there.
_HEADLINES = (
    "accuracy/top1",
    "single-label/f1-score",
    "coco/segm_mAP",
    "coco/bbox_mAP",
    "pascal_voc/mAP",
    "mIoU",
)


@dataclass(frozen=True)
class Condition:
    """One evaluation.

    Attributes:
        size: The shorter side in pixels; None: as the config has it.
        corruption: One of ImageNet-C's; None: clean images.
        severity: 1 to 5; None for clean images.
    """

    size: Optional[int] = None
    corruption: Optional[str] = None
    severity: Optional[int] = None

    def __str__(self) -> str:
        parts = ["the config's size" if self.size is None else f"{self.size} px"]
        if self.corruption is not None:
            parts.append(f"{self.corruption} {self.severity}")
        return ", ".join(parts)

    def apply(self, pipeline: Pipeline) -> Pipeline:
        """Return the test pipeline under this condition."""
        if self.size is not None:
            pipeline = pipeline_at_size(pipeline, self.size)
        if self.corruption is not None and self.severity is not None:
            pipeline = corrupted_pipeline(pipeline, self.corruption, self.severity)
        return pipeline


def plan_conditions(
    sizes: Sequence[Optional[int]],
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = (),
) -> List[Condition]:
    """List every size on clean images, then under each corruption and severity."""
    conditions = [Condition(size) for size in sizes]
    conditions += [
        Condition(size, corruption, severity)
        for size in sizes
        for corruption in corruptions
        for severity in severities
    ]
    return conditions


def headline_metric(
    metrics: Mapping[str, Any], wanted: Optional[str] = None, complete: bool = True
) -> str:
    """Return the name of the metric that a table shows.

    Args:
        metrics: What all evaluations gave.
        wanted: The user's choice. Defaults to None, top-1 accuracy, mask mAP, box mAP,
            mIoU, or else the first.
        complete: Whether no evaluation follows. If one does, ``wanted`` may be an AP
            while there is none: the detector has found nothing so far. Defaults to
            True.

    Raises:
        ValueError: There is no such metric, or none at all that is a number.
    """
    numbers = [
        name
        for name, value in metrics.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    ]
    ap_may_follow = not complete and not any(map(_AP.search, numbers))
    if wanted is not None and ap_may_follow and _AP.search(wanted):
        return wanted
    if wanted is not None and numbers and wanted not in numbers:
        raise ValueError(
            f"metric {wanted!r} is not one of those that the evaluation gave: "
            f"{', '.join(numbers)}"
        )
    if not numbers:
        raise ValueError(
            "the evaluation gave no metric that is a number; a detector that finds "
            "nothing anywhere has none"
        )
    if wanted is not None:
        return wanted
    return next((name for name in _HEADLINES if name in numbers), numbers[0])


def metric_value(name: str, value: Optional[float]) -> Optional[float]:
    """Return a metric's value; None for COCO's AP of -1: there is nothing to measure.

    Args:
        name: Name of the metric.
        value: Its value, None if there is none.
    """
    return None if value == -1 and _AP.search(name) else value


def value_of(result: Mapping[str, Any], metric: str) -> Optional[float]:
    """Return the metric of one evaluation; 0 for the AP of no detections.

    mmdet reports no AP without detections; as 0 the worst conditions stay in a mean.
    """
    metrics = result["metrics"]
    if metric not in metrics and _AP.search(metric):
        return 0.0
    return metric_value(metric, metrics.get(metric))


def summarize(results: Sequence[Mapping[str, Any]], metric: str) -> Dict[str, Any]:
    """Return the content of the JSON file.

    Args:
        results: One dict for each evaluation: ``checkpoint``, ``size``,
            ``corruption``, ``severity``, ``metrics``.
        metric: The metric that is summarized.

    Returns:
        ``metric``, ``results``, and ``summary``: for each checkpoint and size the
        value on clean images and, if there are corruptions,
        :func:`~mms_plugin.evaluation.corruptions.summarize_corruptions` of them.
    """
    groups: Dict[Tuple[str, Any], Dict[Any, float]] = {}
    for result in results:
        group = groups.setdefault((result["checkpoint"], result["size"]), {})
        value = value_of(result, metric)
        if value is not None:
            group[(result["corruption"], result["severity"])] = value
    summary = []
    for (checkpoint, size), values in groups.items():
        clean = values.pop((None, None), None)
        entry: Dict[str, Any] = dict(checkpoint=checkpoint, size=size, clean=clean)
        if values:
            entry.update(summarize_corruptions(clean, values))
        summary.append(entry)
    return dict(metric=metric, results=list(results), summary=summary)


def to_table(report: Mapping[str, Any]) -> str:
    """Return what :func:`summarize` gave, as a Markdown table.

    Without corruptions: a row for each checkpoint, a column for each size. With them:
    for each checkpoint and size a row for the clean images, for each corruption with
    its severities, and for their mean with the relative drop.
    """
    metric, summary = report["metric"], report["summary"]
    values = {
        (
            item["checkpoint"],
            item["size"],
            item["corruption"],
            item["severity"],
        ): value_of(item, metric)
        for item in report["results"]
    }
    severities = sorted({key[3] for key in values if key[3] is not None})

    # A fraction, such as mmdet's mAP, or a percentage.
    is_fraction = all(abs(value) <= 1 for value in values.values() if value is not None)
    digits = 4 if is_fraction else 2

    def cell(value: Optional[float]) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    def size_name(size: Optional[int]) -> str:
        return "config's size" if size is None else f"{size} px"

    if not severities:
        checkpoints = list(dict.fromkeys(item["checkpoint"] for item in summary))
        sizes = list(dict.fromkeys(item["size"] for item in summary))
        rows = [[metric, *map(size_name, sizes)]]
        for name in checkpoints:
            cells = [cell(values.get((name, size, None, None))) for size in sizes]
            rows.append([name, *cells])
        return markdown_table(rows)

    rows = [
        ["checkpoint", "size", metric, *(f"severity {n}" for n in severities), "mean"]
    ]
    for entry in summary:
        name, size = entry["checkpoint"], entry["size"]
        head = [name, size_name(size)]
        blank = [""] * len(severities)
        rows.append([*head, "clean", *blank, cell(entry["clean"])])
        by_corruption = entry.get("by_corruption", {})
        for corruption in (item for item in CORRUPTIONS if item in by_corruption):
            cells = [
                cell(values.get((name, size, corruption, severity)))
                for severity in severities
            ]
            rows.append([*head, corruption, *cells, cell(by_corruption[corruption])])
        if by_corruption:
            rows.append([*head, "mean", *blank, cell(entry["mean"])])
            drop = entry["relative_drop"]
            drop_text = "-" if drop is None else f"{drop:.1f} %"
            rows.append([*head, "relative drop", *blank, drop_text])
    return markdown_table(rows, text_columns=(0, 1, 2))
