"""The demo's report, put together from what the arms gave: pure functions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import documented

from mms_plugin.utils.files import write_atomically
from mms_plugin.utils.tables import markdown_table

Plan = Sequence[Tuple[int, int, int]]
Curve = List[Tuple[float, float]]

# Multipliers closer to 1 than this factor are called so in the report.
LITTLE_TO_ALIGN = 1.25


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
        train_time: Seconds of the training iterations, loading of data included,
            start-up and validations not.
        metrics_by_size: By metric and test size (image side in pixels), percent.
        curve: ``(epoch, percent by metric)`` of the validations during the training.
        agvm: ``(iteration, value)`` by ``'mu/<module>'`` and ``'phi/<module>'``, where
            AGVM measured the training.
    """

    name: str
    config: str
    epochs: int
    plan: List[Plan]
    train_flops: List[float]
    wall_clock: float
    cpu_time: float
    train_time: float
    metrics_by_size: Dict[str, Dict[int, float]]
    curve: List[Tuple[int, Dict[str, float]]]
    agvm: Dict[str, Curve] = field(default_factory=dict)


@dataclass
class Task:
    """Trainings that are compared with each other; the first is the baseline.

    Attributes:
        name: ``'classification'`` or ``'detection'``.
        metrics: What is measured, in percent.
        base_size: Image side in pixels that the baseline trains at.
        arms: The trainings.
        note: About the data and the model.
        pictures: Caption by file name.
    """

    name: str
    metrics: List[str]
    base_size: int
    arms: List[Arm]
    note: str = ""
    pictures: Dict[str, str] = field(default_factory=dict)


def summarize_arm(arm: Arm, baseline: Arm, base_size: int) -> Dict[str, Any]:
    """Return the figures of one arm, and their ratios to the baseline's."""
    from mms_plugin.analysis import summarize_agvm

    def total(one: Arm) -> Dict[str, float]:
        return dict(
            iterations=sum(len(epoch) for epoch in one.plan),
            train_flops=sum(one.train_flops),
            wall_clock=one.wall_clock,
            cpu_time=one.cpu_time,
            train_time=one.train_time,
        )

    own, other = total(arm), total(baseline)
    cumulated, curve = 0.0, dict(arm.curve)
    points = []
    for epoch, flops in enumerate(arm.train_flops, start=1):
        cumulated += flops
        if epoch in curve:
            point = dict(epoch=epoch, train_flops=cumulated, metrics=curve[epoch])
            points.append(point)
    return dict(
        name=arm.name,
        config=arm.config,
        epochs=arm.epochs,
        images=sum(batch for epoch in arm.plan for _, _, batch in epoch),
        **own,
        metrics={
            metric: dict(
                at_base_size=values[base_size],
                mean_over_sizes=sum(values.values()) / len(values),
                by_size={str(size): value for size, value in values.items()},
            )
            for metric, values in arm.metrics_by_size.items()
        },
        ratio={name: own[name] / other[name] for name in own},
        curve=points,
        **(dict(agvm=summarize_agvm(arm.agvm)) if arm.agvm else {}),
    )


def agvm_panels(
    curves: Mapping[str, Curve], window: int = 9
) -> Dict[str, Dict[str, Curve]]:
    """Return the two panels of AGVM's picture, by the label of their axis.

    Args:
        curves: ``(iteration, value)`` by ``'mu/<module>'`` and ``'phi/<module>'``.
        window: Measurements that a point of phi is the mean of, so that one can tell
            the lines apart. Default: 9.
    """
    from mms_plugin.analysis import running_mean

    phi_label = f"phi: variance of the gradient (mean of {window} measurements)"
    panels: Dict[str, Dict[str, Curve]] = {phi_label: {}, "mu: multiplier": {}}
    for name, points in curves.items():
        kind, module = name.split("/", 1)
        if kind == "mu":
            panels["mu: multiplier"][module] = list(points)
            continue
        panels[phi_label][module] = running_mean(points, window)
    return panels


def describe_agvm(arm: Mapping[str, Any]) -> str:
    """Return what AGVM measured in an arm of ``report.json``, in words."""
    phi, mu = arm["agvm"]["phi"], arm["agvm"]["mu"]
    anchor = "backbone"
    others = [module for module in phi if module != anchor]
    low, high = min(others, key=phi.__getitem__), max(others, key=phi.__getitem__)
    small, large = min(others, key=mu.__getitem__), max(others, key=mu.__getitem__)
    text = (
        f"AGVM measured {arm['name']} every few iterations and changed nothing "
        f"(`modulate=False`): phi is one minus the cosine between the gradients of the "
        f"two halves of a batch, estimated in one process (docs/agvm.md), and mu the "
        f"factor on a module's learning rate that would "
        f"bring its phi to the {anchor}'s. Over the last third of the training phi was "
        f"{phi[anchor]:.2f} in the {anchor} and from {phi[low]:.2f} ({low}) to "
        f"{phi[high]:.2f} ({high}) in the other modules, which would have ended with "
        f"mu from {mu[small]:.2f} ({small}) to {mu[large]:.2f} ({large})."
    )
    if max(mu[large], 1 / mu[small]) < LITTLE_TO_ALIGN:
        batch_size = arm["images"] / arm["iterations"]
        text += (
            f" At {batch_size:.0f} images a batch there is little to align: AGVM is "
            f"made for batches of hundreds."
        )
    return text


def assemble(tasks: Sequence[Task], about: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the content of ``report.json``.

    Args:
        tasks: What was trained.
        about: Versions, device, command: whatever describes the run.
    """
    return dict(
        about=dict(about),
        tasks={
            task.name: dict(
                metrics=list(task.metrics),
                base_size=task.base_size,
                test_sizes=sorted(task.arms[0].metrics_by_size[task.metrics[0]]),
                baseline=task.arms[0].name,
                note=task.note,
                arms=[
                    summarize_arm(arm, task.arms[0], task.base_size)
                    for arm in task.arms
                ],
                pictures=dict(task.pictures),
            )
            for task in tasks
        },
    )


def _cost_table(task: Mapping[str, Any]) -> str:
    header = ["arm", "epochs", "iterations", "images", "training TFLOPs"]
    header += ["training time (s)", "wall-clock (s)", "CPU time (s)"]
    for metric in task["metrics"]:
        header.append(f"{metric} at {task['base_size']} px")
        header.append(f"{metric}, mean over {len(task['test_sizes'])} test sizes")
    rows = [header]
    for arm in task["arms"]:
        row = [
            arm["name"],
            str(arm["epochs"]),
            f"{arm['iterations']:,}",
            f"{arm['images']:,}",
            f"{arm['train_flops'] / 1e12:.2f}",
            f"{arm['train_time']:.0f}",
            f"{arm['wall_clock']:.0f}",
            f"{arm['cpu_time']:.0f}",
        ]
        for metric in task["metrics"]:
            values = arm["metrics"][metric]
            row += [f"{values[key]:.1f}" for key in ("at_base_size", "mean_over_sizes")]
        rows.append(row)
    return markdown_table(rows)


def _ratio_table(task: Mapping[str, Any]) -> str:
    header = ["arm", "iterations", "FLOPs", "training time", "wall-clock", "CPU time"]
    for metric in task["metrics"]:
        header.append(f"{metric} at {task['base_size']} px")
        header.append(f"{metric}, mean over sizes")
    rows = [header]
    base = task["arms"][0]["metrics"]
    for arm in task["arms"]:
        names = ("iterations", "train_flops", "train_time", "wall_clock", "cpu_time")
        row = [arm["name"], *(f"{arm['ratio'][name]:.2f}" for name in names)]
        for metric in task["metrics"]:
            for key in ("at_base_size", "mean_over_sizes"):
                row.append(f"{arm['metrics'][metric][key] - base[metric][key]:+.1f}")
        rows.append(row)
    return markdown_table(rows)


def _size_table(task: Mapping[str, Any], metric: str) -> str:
    sizes = [str(size) for size in task["test_sizes"]]
    rows = [["arm", *sizes]]
    for arm in task["arms"]:
        by_size = arm["metrics"][metric]["by_size"]
        rows.append([arm["name"], *(f"{by_size[size]:.1f}" for size in sizes)])
    return markdown_table(rows)


def _agvm_table(summary: Mapping[str, Any]) -> str:
    rows = [["module", "phi, mean over the last third", "mu at the end"]]
    for module, phi in summary["phi"].items():
        rows.append([module, f"{phi:.2f}", f"{summary['mu'][module]:.2f}"])
    return markdown_table(rows)


def to_markdown(report: Mapping[str, Any]) -> str:
    """Return the content of ``report.md`` from that of ``report.json``."""
    parts = ["# What the demo gave"]
    for name, task in report["tasks"].items():
        parts.append(f"## {name.capitalize()}")
        if task["note"]:
            parts.append(task["note"])
        parts.append(_cost_table(task))
        parts.append(
            f"As a share of {task['baseline']}, metrics as differences in points:"
        )
        parts.append(_ratio_table(task))
        parts.append(
            "Time falls less than FLOPs: start-up and validations take the same time "
            "in every arm (they are in the wall-clock, not in the training time), and "
            "every iteration of a model this small has a fixed cost beside its FLOPs."
        )
        rows = documented.beside(name, task, report["about"].get("seed", 0))
        if rows:
            parts.append(
                f"Beside the documented figures, which come from "
                f"{documented.load()['machine']}. On another CPU or version of torch "
                "the same seed rounds differently, and its figures differ as those of "
                "another seed do:"
            )
            parts.append(markdown_table(rows))
        for metric in task["metrics"]:
            parts.append(f"{metric} by test size (px):")
            parts.append(_size_table(task, metric))
        for arm in task["arms"]:
            if "agvm" in arm:
                parts.append(describe_agvm(arm))
                parts.append(_agvm_table(arm["agvm"]))
        for file, caption in task["pictures"].items():
            parts.append(f"![{caption}]({file})\n\n{caption}")
    parts.append("## How it was run")
    parts.append(
        "FLOPs are counted by PyTorch's flop counter on the trained model and images "
        "of the training, forward and backward, at each size, times the images of the "
        "plan that was run; a multiplication and an addition are two. Wall-clock is "
        "that of the whole process, with its start and the validations; training time "
        "is that of the iterations only, with the loading of their data."
    )
    parts.append(
        "\n".join(f"- {key}: {value}" for key, value in report["about"].items())
    )
    return "\n\n".join(parts) + "\n"


def write_text(path: Path, text: str) -> None:
    """Write a text file; there is never half of it under the name."""
    write_atomically(text.encode(), path)


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write ``report.json`` and ``report.md`` into ``folder``."""
    write_text(folder / "report.json", json.dumps(report, indent=2) + "\n")
    write_text(folder / "report.md", to_markdown(report))


def arm_to_json(arm: Arm) -> str:
    """Return an arm as JSON, to be read back by :func:`arm_from_json`."""
    return json.dumps(asdict(arm))


def arm_from_json(text: str) -> Arm:
    """Return the arm that :func:`arm_to_json` wrote."""
    content = json.loads(text)
    content["plan"] = [[tuple(item) for item in epoch] for epoch in content["plan"]]
    content["curve"] = [(int(epoch), values) for epoch, values in content["curve"]]
    content["metrics_by_size"] = {
        metric: {int(size): float(value) for size, value in values.items()}
        for metric, values in content["metrics_by_size"].items()
    }
    content["agvm"] = {
        name: [(int(iteration), float(value)) for iteration, value in points]
        for name, points in content["agvm"].items()
    }
    return Arm(**content)
