"""Small multiples of lines: color-blind safe, with one legend below all panels."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from mms_plugin.analysis.pictures import (
    COLORS,
    LINES,
    MARKERS,
    new_figure,
    save_figure,
)

_MARGIN = 1.2
"""Factor between the outer ticks of a logarithmic axis and its ends."""

_CHARACTERS = 10
"""Characters of the title that surely fit into an inch."""


@dataclass
class Line:
    """A line of a panel.

    Args:
        name: In the legend; lines of one name look alike in all panels.
        x: Values along the horizontal axis.
        y: Values along the vertical axis.
        low: Lower ends of the error bars. Defaults to none.
        high: Upper ends of the error bars. Defaults to none.
        marks: Positions on the horizontal axis to mark with a cross at the bottom, as
            where a training diverged.
        markers: Whether to mark the points. Defaults to True.
        hollow: Positions on the horizontal axis of the points to draw hollow.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Optional[Sequence[float]] = None
    high: Optional[Sequence[float]] = None
    marks: Sequence[float] = field(default_factory=tuple)
    markers: bool = True
    hollow: Sequence[float] = field(default_factory=tuple)


@dataclass
class Panel:
    """A panel of a figure.

    Args:
        title: Above the panel.
        lines: Its lines.
        ticks: Positions of the ticks on a logarithmic horizontal axis; empty: a linear
            axis with ticks of its own.
    """

    title: str
    lines: List[Line]
    ticks: Sequence[float] = field(default_factory=tuple)


def draw_panels(
    rows: Sequence[Sequence[Panel]],
    path: Path,
    x_label: str,
    y_label: str,
    title: str,
    mark_label: str = "",
    hollow_label: str = "",
) -> None:
    """Draw panels in rows and write a PNG.

    Args:
        rows: Rows of equal length.
        path: The PNG.
        x_label: Below the lowest panels.
        y_label: Beside the left panels.
        title: Above all.
        mark_label: Name of the crosses in the legend; empty if there are none.
        hollow_label: Name of the hollow points in the legend; empty if there are none.
    """
    columns = max(len(row) for row in rows)
    width = 1.2 + 3.3 * columns
    figure = new_figure(width, 1.5 + 2.5 * len(rows))
    axes = figure.subplots(len(rows), columns, squeeze=False, sharey="row")
    figure.suptitle(textwrap.fill(title, int(_CHARACTERS * width)), fontsize=12)
    styles = _styles(rows)
    shown: Dict[str, Any] = {}
    for row, row_axes in zip(rows, axes):
        for axis in row_axes[len(row) :]:
            axis.set_visible(False)
        for panel, axis in zip(row, row_axes):
            _draw_panel(axis, panel, styles, shown, mark_label, hollow_label)
        row_axes[0].set_ylabel(y_label)
    for column in range(columns):
        lowest = [
            row_axes[column] for row, row_axes in zip(rows, axes) if len(row) > column
        ]
        lowest[-1].set_xlabel(x_label)
    figure.legend(
        list(shown.values()),
        list(shown),
        loc="outside lower center",
        ncols=min(len(shown), 2 * columns) or 1,
        frameon=False,
    )
    save_figure(figure, path)


def _styles(rows: Sequence[Sequence[Panel]]) -> Mapping[str, Dict[str, Any]]:
    names = dict.fromkeys(
        line.name for row in rows for panel in row for line in panel.lines
    )
    styles = {}
    for number, name in enumerate(names):
        styles[name] = dict(
            color=COLORS[number % len(COLORS)],
            linestyle=LINES[number % len(LINES)],
            marker=MARKERS[number % len(MARKERS)],
        )
    return styles


def _draw_panel(
    axis: Any,
    panel: Panel,
    styles: Mapping[str, Dict[str, Any]],
    shown: Dict[str, Any],
    mark_label: str,
    hollow_label: str,
) -> None:
    axis.set_title(panel.title, fontsize=10)
    axis.grid(alpha=0.3)
    for number, line in enumerate(panel.lines):
        style = dict(styles[line.name])
        if not line.markers:
            style["marker"] = ""
        (drawn,) = axis.plot(line.x, line.y, markersize=5, linewidth=1.6, **style)
        shown.setdefault(line.name, drawn)
        if len(line.hollow):
            open_style = dict(
                style, linestyle="", markerfacecolor="white", markersize=5, zorder=3
            )
            y = [line.y[list(line.x).index(position)] for position in line.hollow]
            (hollow,) = axis.plot(line.hollow, y, **open_style)
            if hollow_label:
                shown.setdefault(f"{line.name}: {hollow_label}", hollow)
        if line.low is not None and line.high is not None:
            bars = np.abs(np.array([line.low, line.high]) - np.array(line.y))
            axis.errorbar(
                line.x, line.y, bars, fmt="none", color=style["color"], capsize=3
            )
        if len(line.marks):
            # Beside each other where several lines end at one position.
            shift = 1 + 0.06 * number if panel.ticks else 1.0
            crosses = axis.scatter(
                [position * shift for position in line.marks],
                [0.03 + 0.05 * number] * len(line.marks),
                marker="x",
                color=style["color"],
                transform=axis.get_xaxis_transform(),
                zorder=3,
            )
            if mark_label:
                shown.setdefault(f"{line.name}: {mark_label}", crosses)
    if panel.ticks:
        axis.set_xscale("log", base=2)
        axis.set_xticks(list(panel.ticks), [f"{tick:g}" for tick in panel.ticks])
        # Room for crosses at the ends, and between the labels of two panels.
        axis.set_xlim(min(panel.ticks) / _MARGIN, max(panel.ticks) * _MARGIN)
        axis.tick_params(axis="x", labelsize=8)
        axis.minorticks_off()
