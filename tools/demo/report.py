"""The demo's report, put together from what the arms gave: pure functions."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

Plan = Sequence[Tuple[int, int, int]]


@dataclass
class Arm:
    """One training of a task.

    Attributes:
        name: Of the sampling, as in the papers: SSc-FBS, MSc-VBS, MSc-VBSWC.
        config: Path of its config.
        epochs: Number of epochs.
        plan: By epoch, ``(height, width, batch_size)`` of every iteration that ran.
        train_flops: FLOPs of forward and backward, by epoch.
        wall_clock: Seconds of the whole run: start-up, training, validation.
        cpu_time: Processor seconds of it, all processes.
        metric_by_size: By test size (image side in pixels), the metric in percent.
        curve: ``(epoch, metric)`` of the validations during the training.
    """

    name: str
    config: str
    epochs: int
    plan: List[Plan]
    train_flops: List[float]
    wall_clock: float
    cpu_time: float
    metric_by_size: Dict[int, float]
    curve: List[Tuple[int, float]]


@dataclass
class Task:
    """Trainings that are compared with each other; the first is the baseline.

    Attributes:
        name: ``'classification'``.
        metric: What is measured, with its unit.
        base_size: Image side in pixels that the baseline trains at.
        arms: The trainings.
        note: About the data and the model.
        pictures: Caption by file name.
    """

    name: str
    metric: str
    base_size: int
    arms: List[Arm]
    note: str = ""
    pictures: Dict[str, str] = field(default_factory=dict)


def summarise_arm(arm: Arm, baseline: Arm, base_size: int) -> Dict[str, Any]:
    """The figures of one arm, and their ratios to the baseline's."""

    def total(one: Arm) -> Dict[str, float]:
        return dict(
            iterations=sum(len(epoch) for epoch in one.plan),
            train_flops=sum(one.train_flops),
            wall_clock=one.wall_clock,
            cpu_time=one.cpu_time,
        )

    own, other = total(arm), total(baseline)
    cumulated, curve = 0.0, dict(arm.curve)
    points = []
    for epoch, flops in enumerate(arm.train_flops, start=1):
        cumulated += flops
        if epoch in curve:
            points.append(dict(epoch=epoch, train_flops=cumulated, metric=curve[epoch]))
    by_size = arm.metric_by_size
    return dict(
        name=arm.name,
        config=arm.config,
        epochs=arm.epochs,
        images=sum(batch for epoch in arm.plan for _, _, batch in epoch),
        **own,
        metric_at_base_size=by_size[base_size],
        metric_mean_over_sizes=sum(by_size.values()) / len(by_size),
        metric_by_size={str(size): value for size, value in by_size.items()},
        ratio={name: own[name] / other[name] for name in own},
        curve=points,
    )


def assemble(tasks: Sequence[Task], about: Mapping[str, Any]) -> Dict[str, Any]:
    """The content of ``report.json``.

    Args:
        tasks: What was trained.
        about: Versions, device, command: whatever describes the run.
    """
    return dict(
        about=dict(about),
        tasks={
            task.name: dict(
                metric=task.metric,
                base_size=task.base_size,
                test_sizes=sorted(task.arms[0].metric_by_size),
                baseline=task.arms[0].name,
                note=task.note,
                arms=[
                    summarise_arm(arm, task.arms[0], task.base_size)
                    for arm in task.arms
                ],
                pictures=dict(task.pictures),
            )
            for task in tasks
        },
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join([line(rows[0]), line(rule), *(line(row) for row in rows[1:])])


def to_markdown(report: Mapping[str, Any]) -> str:
    """The content of ``report.md`` from that of ``report.json``."""
    parts = ["# What the demo gave"]
    for name, task in report["tasks"].items():
        arms = task["arms"]
        baseline = task["baseline"]
        parts.append(f"## {name.capitalize()}")
        if task["note"]:
            parts.append(task["note"])
        header = [
            "arm",
            "epochs",
            "iterations",
            "images",
            "training TFLOPs",
            "wall-clock (s)",
            "CPU time (s)",
            f"{task['metric']} at {task['base_size']} px",
            f"mean over {len(task['test_sizes'])} test sizes",
        ]
        rows = [
            [
                arm["name"],
                str(arm["epochs"]),
                f"{arm['iterations']:,}",
                f"{arm['images']:,}",
                f"{arm['train_flops'] / 1e12:.2f}",
                f"{arm['wall_clock']:.0f}",
                f"{arm['cpu_time']:.0f}",
                f"{arm['metric_at_base_size']:.1f}",
                f"{arm['metric_mean_over_sizes']:.1f}",
            ]
            for arm in arms
        ]
        parts.append(_table([header, *rows]))
        parts.append(f"As a share of {baseline}, metrics as differences in points:")
        base = arms[0]
        rows = [
            [
                arm["name"],
                f"{arm['ratio']['iterations']:.2f}",
                f"{arm['ratio']['train_flops']:.2f}",
                f"{arm['ratio']['wall_clock']:.2f}",
                f"{arm['ratio']['cpu_time']:.2f}",
                f"{arm['metric_at_base_size'] - base['metric_at_base_size']:+.1f}",
                "{:+.1f}".format(
                    arm["metric_mean_over_sizes"] - base["metric_mean_over_sizes"]
                ),
            ]
            for arm in arms
        ]
        header = ["arm", "iterations", "FLOPs", "wall-clock", "CPU time"]
        header += [f"at {task['base_size']} px", "mean over sizes"]
        parts.append(_table([header, *rows]))
        parts.append(f"{task['metric']} by test size (px):")
        sizes = [str(size) for size in task["test_sizes"]]
        rows = [
            [arm["name"], *(f"{arm['metric_by_size'][size]:.1f}" for size in sizes)]
            for arm in arms
        ]
        parts.append(_table([["arm", *sizes], *rows]))
        for file, caption in task["pictures"].items():
            parts.append(f"![{caption}]({file})\n\n{caption}")
    parts.append("## How it was run")
    parts.append(
        "FLOPs are counted by PyTorch's flop counter on the real model, forward and "
        "backward, at each size, times the images of the plan that was run; a "
        "multiplication and an addition are two. Wall-clock is that of the whole "
        "process, with its start and the validations."
    )
    parts.append(
        "\n".join(f"- {key}: {value}" for key, value in report["about"].items())
    )
    return "\n\n".join(parts) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write beside and rename: there is never half a file."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write ``report.json`` and ``report.md`` into ``folder``."""
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    write_text(folder / "report.md", to_markdown(report))


def arm_to_json(arm: Arm) -> str:
    """An arm as JSON, to be read back by :func:`arm_from_json`."""
    return json.dumps(asdict(arm))


def arm_from_json(text: str) -> Arm:
    """The arm that :func:`arm_to_json` wrote."""
    content = json.loads(text)
    content["plan"] = [[tuple(item) for item in epoch] for epoch in content["plan"]]
    content["curve"] = [(int(epoch), float(value)) for epoch, value in content["curve"]]
    content["metric_by_size"] = {
        int(size): float(value) for size, value in content["metric_by_size"].items()
    }
    return Arm(**content)
