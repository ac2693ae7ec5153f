"""What the demo trains: plain data about each task, and nothing that runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Tuple

__all__ = ["CLASSIFICATION", "DETECTION", "TASKS", "DemoTask"]


@dataclass(frozen=True)
class DemoTask:
    """One part of the demo.

    Attributes:
        name: Of the task; also of its folder in the built-in data.
        arms: ``(name, config file)`` of the trainings; the first is the baseline, the
            last shows the multi-scale batches.
        base_size: Image side in pixels that the baseline trains at.
        test_sizes: Image sides in pixels that all arms are tested at.
        metrics: What is measured, by the name that it has in MMEngine's log.
        factor: The log's values times this are percent.
        jobs: Trainings at a time.
        val_interval: Validate every so many epochs, where the user sets the epochs.
        minutes: What the trainings usually take on two cores.
    """

    name: str
    arms: Tuple[Tuple[str, str], ...]
    base_size: int
    test_sizes: Tuple[int, ...]
    metrics: Mapping[str, str]
    factor: float
    jobs: int
    val_interval: int
    minutes: int

    def metric_values(self, scalars: Mapping[str, Any]) -> Dict[str, float]:
        """Percent by the metric's own name; empty where nothing was measured."""
        return {
            label: float(scalars[key]) * self.factor
            for key, label in self.metrics.items()
            if key in scalars
        }


CLASSIFICATION = DemoTask(
    name="classification",
    arms=(
        ("SSc-FBS", "resnet18_fbs_1xb16-18e_scenes.py"),
        ("MSc-VBS", "resnet18_vbs_1xb16-18e_scenes.py"),
        ("MSc-VBSWC", "resnet18_vbs-cur_1xb16-18e_scenes.py"),
    ),
    base_size=64,
    test_sizes=(40, 48, 64, 80, 96),
    metrics={"accuracy/top1": "top-1 (%)"},
    factor=1.0,
    jobs=3,  # more than cores, so that none idles
    val_interval=2,
    minutes=5,
)

DETECTION = DemoTask(
    name="detection",
    arms=(
        ("SSc-FBS", "mask-rcnn_r18_fbs_1xb4-15e_scenes.py"),
        ("SSc-FBS short", "mask-rcnn_r18_fbs_1xb4-10e_scenes.py"),
        ("MSc-VBSWC", "mask-rcnn_r18_vbs-cur_1xb4-15e_scenes.py"),
    ),
    base_size=128,
    test_sizes=(80, 96, 128, 160, 192),
    metrics={"coco/bbox_mAP": "box mAP", "coco/segm_mAP": "mask mAP"},
    factor=100.0,
    jobs=3,  # more than cores, so that none idles
    val_interval=3,
    minutes=8,
)

TASKS = {task.name: task for task in (CLASSIFICATION, DETECTION)}
