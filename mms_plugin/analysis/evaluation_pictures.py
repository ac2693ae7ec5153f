"""Pictures of evaluations: calibration, sizes, corruptions. Needs matplotlib."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np

from ..evaluation.calibration import Bin
from ..evaluation.conditions import value_of
from ..evaluation.corruptions import CORRUPTIONS
from .pictures import (
    COLORS,
    LINES,
    MARKERS,
    PathLike,
    draw_lines,
    new_figure,
    save_figure,
)

__all__ = ["draw_evaluation", "draw_reliability"]

_PERCENTAGES = (
    "accuracy",
    "single-label",
    "calibration/brier",
    "calibration/ece",
    "calibration/mce",
    "calibration/rmsce",
)


def draw_reliability(
    bins: Sequence[Bin],
    path: PathLike,
    title: str,
    metrics: Mapping[str, float],
) -> None:
    """Draw a reliability diagram: accuracy by confidence, the gap, and the histogram.

    Args:
        bins: What an evaluation has left in ``CalibrationError.bins``.
        path: The PNG to write.
        title: Above the picture.
        metrics: What is written above it, as ``{'ECE (%)': 3.1}``.
    """
    figure = new_figure(6.2, 7.6)
    upper, lower = figure.subplots(
        2, 1, sharex=True, gridspec_kw=dict(height_ratios=[3, 1])
    )
    total = sum(item.count for item in bins)
    filled = [item for item in bins if item.count]
    # Equal-mass bins may be too narrow to be seen.
    widths = [max(item.upper - item.lower, 0.004) for item in filled]
    lefts = [item.lower for item in filled]
    accuracy = np.array([item.accuracy for item in filled])
    confidence = np.array([item.confidence for item in filled])
    upper.bar(
        lefts,
        accuracy,
        widths,
        align="edge",
        color=COLORS[1],
        edgecolor="white",
        linewidth=0.6,
        label="accuracy",
    )
    upper.bar(
        lefts,
        confidence - accuracy,
        widths,
        bottom=accuracy,
        align="edge",
        facecolor="#D55E0040",
        edgecolor=COLORS[2],
        hatch="///",
        linewidth=0.8,
        label="gap to the mean confidence",
    )
    upper.plot([0, 1], [0, 1], "--", color=COLORS[0], label="perfect calibration")
    figure.suptitle(title)
    upper.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    upper.set_title(
        ",  ".join(f"{name} {value:.2f}" for name, value in metrics.items()),
        fontsize=8.5,
    )
    upper.grid(alpha=0.3)
    upper.legend(loc="upper left")
    share = [100 * item.count / total for item in filled]
    lower.bar(lefts, share, widths, align="edge", color="#999999", edgecolor="white")
    weights = np.array([item.count for item in filled])
    means = (
        ("mean confidence", float(np.average(confidence, weights=weights)), 2),
        ("accuracy", float(np.average(accuracy, weights=weights)), 1),
    )
    for name, value, number in means:
        lower.axvline(
            value,
            color=COLORS[number],
            linestyle=LINES[number],
            label=f"{name} {100 * value:.1f} %",
        )
    lower.set(xlabel="confidence", ylabel=f"share of {total:,} images (%)")
    lower.grid(alpha=0.3)
    lower.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=2,
        frameon=False,
        fontsize=8.5,
    )
    save_figure(figure, path)


def draw_evaluation(
    report: Mapping[str, Any], names: Mapping[str, str], path: PathLike
) -> None:
    """Draw the picture of an evaluation over sizes, or over corruptions.

    Args:
        report: What :func:`mms_plugin.evaluation.conditions.summarize` gave.
        names: What the legend calls each checkpoint.
        path: The PNG to write.
    """
    metric, summary = report["metric"], report["summary"]
    unit = " (%)" if metric.startswith(_PERCENTAGES) else ""
    if all("by_corruption" not in entry for entry in summary):
        if all(entry["size"] is None for entry in summary):
            _draw_bars(summary, names, path, f"{metric}{unit}")
            return
        lines: dict = {}
        for entry in summary:
            if entry["clean"] is not None:
                point = (entry["size"], entry["clean"])
                lines.setdefault(names[entry["checkpoint"]], []).append(point)
        draw_lines(
            {name: sorted(points) for name, points in lines.items()},
            path,
            "Evaluation over sizes",
            "shorter side of the image at the network (px)",
            f"{metric}{unit}",
        )
        return
    _draw_corruptions(report, names, path, f"{metric}{unit}")


def _label(entry: Mapping[str, Any], names: Mapping[str, str]) -> str:
    size = "" if entry["size"] is None else f", {entry['size']} px"
    return f"{names[entry['checkpoint']]}{size}"


def _draw_bars(
    summary: Sequence[Mapping[str, Any]],
    names: Mapping[str, str],
    path: PathLike,
    metric: str,
) -> None:
    figure = new_figure(7.5, 1.4 + 0.5 * len(summary))
    axis = figure.subplots()
    values = [entry["clean"] or 0.0 for entry in summary]
    bars = axis.barh(
        [_label(entry, names) for entry in summary], values, color="#0072B2"
    )
    labels = ["-" if e["clean"] is None else f"{e['clean']:.4g}" for e in summary]
    axis.bar_label(bars, labels, padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.12)
    axis.set(title="Evaluation of checkpoints", xlabel=metric)
    axis.grid(axis="x", alpha=0.3)
    save_figure(figure, path)


def _draw_corruptions(
    report: Mapping[str, Any], names: Mapping[str, str], path: PathLike, metric: str
) -> None:
    summary = [entry for entry in report["summary"] if "by_corruption" in entry]
    figure = new_figure(11, 5.6)
    left, right = figure.subplots(1, 2, gridspec_kw=dict(width_ratios=[1, 1.2]))
    figure.suptitle("Evaluation under ImageNet-C's corruptions")
    present = [
        name
        for name in CORRUPTIONS
        if any(name in entry["by_corruption"] for entry in summary)
    ]
    for number, entry in enumerate(summary):
        by_severity: dict = {}
        for item in report["results"]:
            same = (item["checkpoint"], item["size"]) == (
                entry["checkpoint"],
                entry["size"],
            )
            value = value_of(item, report["metric"])
            if same and value is not None:
                by_severity.setdefault(item["severity"] or 0, []).append(value)
        style = dict(
            color=COLORS[number % len(COLORS)],
            marker=MARKERS[number % len(MARKERS)],
        )
        points = sorted((key, float(np.mean(v))) for key, v in by_severity.items())
        left.plot(
            *zip(*points),
            label=_label(entry, names),
            linestyle=LINES[number % len(LINES)],
            **style,
        )
        # Beside each other, not on top.
        shift = 0.18 * (number - (len(summary) - 1) / 2)
        rows = [
            row for row, name in enumerate(present) if name in entry["by_corruption"]
        ]
        right.plot(
            [entry["by_corruption"][present[row]] for row in rows],
            [row + shift for row in rows],
            linestyle="none",
            **style,
        )
        if entry["clean"] is not None:
            right.axvline(
                entry["clean"],
                color=style["color"],
                linestyle=LINES[number % len(LINES)],
                alpha=0.6,
            )
    ticks = sorted({item["severity"] or 0 for item in report["results"]})
    left.set_xticks(ticks, ["clean" if tick == 0 else str(tick) for tick in ticks])
    left.set(xlabel="severity", ylabel=f"{metric}, mean over corruptions")
    left.grid(alpha=0.3)
    left.legend(fontsize=8)
    right.set_yticks(range(len(present)), [name.replace("_", " ") for name in present])
    right.invert_yaxis()
    right.set(
        xlabel=f"{metric}, mean over severities",
        title="vertical lines: clean images",
    )
    right.title.set_fontsize(9)
    right.grid(alpha=0.3)
    save_figure(figure, path)
