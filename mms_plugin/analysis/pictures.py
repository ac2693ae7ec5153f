"""Pictures of trainings, drawn from plain data.

Colors are Okabe and Ito's (told apart with every kind of color blindness), and each
series has a marker and a line style of its own too. Needs matplotlib
(``pip install matplotlib``), imported on first use.
"""

from __future__ import annotations

import io
import os
from typing import Any, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from ..utils.files import write_atomically

__all__ = [
    "draw_contact_sheet",
    "draw_costs",
    "draw_line_panels",
    "draw_lines",
]

COLORS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))

PathLike = Union[str, "os.PathLike[str]"]


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure, its sides in inches, apart from pyplot's global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install matplotlib") from error
    # No pyplot: it would choose a backend for the whole process.
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: PathLike) -> None:
    """Write a figure as PNG; there is never half a picture under the name."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(content.getvalue(), path)


def draw_lines(
    series: Mapping[str, Sequence[Tuple[float, float]]],
    path: PathLike,
    title: str,
    xlabel: str,
    ylabel: str,
) -> None:
    """Draw lines through points, one for each name, with a legend.

    Args:
        series: ``(x, y)`` points by the name of the line.
        path: The PNG to write.
        title: Above the picture.
        xlabel: What is measured to the right, with its unit.
        ylabel: What is measured upwards, with its unit.
    """
    draw_line_panels({ylabel: series}, path, title, xlabel)


def draw_line_panels(
    panels: Mapping[str, Mapping[str, Sequence[Tuple[float, float]]]],
    path: PathLike,
    title: str,
    xlabel: str,
) -> None:
    """Draw panels side by side, each with lines through points; one legend.

    Args:
        panels: By what is measured upwards, with its unit: ``(x, y)`` points by the
            name of the line. A name has the same color in every panel.
        path: The PNG to write.
        title: Above the picture.
        xlabel: What is measured to the right, with its unit.

    Raises:
        ValueError: No panels.
    """
    if not panels:
        raise ValueError("panels={} must hold at least one panel")
    figure = new_figure(7.5 if len(panels) == 1 else 5.7 * len(panels), 4.6)
    axes = np.atleast_1d(figure.subplots(1, len(panels)))
    names = list(dict.fromkeys(name for series in panels.values() for name in series))
    for axis, (ylabel, series) in zip(axes, panels.items()):
        for name, points in series.items():
            number = names.index(name)
            xs, ys = zip(*points) if points else ((), ())
            axis.plot(
                xs,
                ys,
                label=name,
                color=COLORS[number % len(COLORS)],
                marker=MARKERS[number % len(MARKERS)],
                linestyle=LINES[number % len(LINES)],
                markersize=5,
                # As many marks as tell the lines apart.
                markevery=max(1, len(points) // 12),
            )
        axis.set(xlabel=xlabel, ylabel=ylabel)
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    axes[0].legend()
    save_figure(figure, path)


def draw_costs(
    sides: Mapping[str, Sequence[Tuple[float, float, float]]],
    costs: Mapping[str, Sequence[float]],
    path: PathLike,
    title: str,
    unit: str,
    xlabel: str = "epoch",
) -> None:
    """Draw sizes and costs of trainings over their epochs.

    Args:
        sides: Of each epoch, the smallest, mean and largest image side in pixels, by
            the training's name.
        costs: Of each epoch, by the same names.
        path: The PNG to write.
        title: Above the picture.
        unit: Of the costs, such as ``'PFLOPs'``.
        xlabel: What an entry is. Defaults to an epoch.
    """
    figure = new_figure(8.5, 8)
    figure.suptitle(title)
    size_axis, cost_axis, sum_axis = figure.subplots(3, 1, sharex=True)
    for number, name in enumerate(costs):
        color = COLORS[number % len(COLORS)]
        line = LINES[number % len(LINES)]
        low, mean, high = np.array(sides[name], dtype=float).T
        # An entry reaches from its beginning to its end; the sum is that of its end.
        edges = np.arange(len(mean) + 1)
        size_axis.fill_between(
            edges,
            np.append(low, low[-1]),
            np.append(high, high[-1]),
            step="post",
            alpha=0.2,
            color=color,
            linewidth=0,
        )
        steps = dict(color=color, linestyle=line, linewidth=1.8, baseline=None)
        size_axis.stairs(mean, edges, label=f"{name}: mean", **steps)
        cost_axis.stairs(costs[name], edges, label=name, **steps)
        total = np.concatenate([[0.0], np.cumsum(costs[name])])
        end = f"{total[-1]:,.0f}" if total[-1] >= 100 else f"{total[-1]:.3g}"
        sum_axis.plot(
            edges,
            total,
            color=color,
            linestyle=line,
            linewidth=1.8,
            label=f"{name}: {end} {unit}",
        )
    size_axis.set_ylabel("image side (px)\nsmallest to largest, shaded")
    cost_axis.set_ylabel(f"cost of one {xlabel}\n({unit})")
    # Room for the legend below the lines.
    cost_axis.set_ylim(0, 1.1 * max(max(values) for values in costs.values()))
    sum_axis.set_ylabel(f"cost so far\n({unit})")
    sum_axis.set_ylim(bottom=0)
    sum_axis.set_xlabel(xlabel)
    for axis, place in (
        (size_axis, "upper left"),
        (cost_axis, "lower right"),
        (sum_axis, "upper left"),
    ):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=9, loc=place)
    save_figure(figure, path)


def draw_contact_sheet(
    batches: Sequence[np.ndarray],
    path: PathLike,
    title: str,
    columns: int = 10,
    captions: Optional[Sequence[str]] = None,
) -> None:
    """Draw a row of images per batch, all at the same scale.

    Args:
        batches: ``(batch_size, height, width, 3)`` uint8 RGB of each row.
        path: The PNG to write.
        title: Above the picture.
        columns: At most this many images of a batch. Defaults to 10.
        captions: Above each row. Defaults to the size and the number of images.

    Raises:
        ValueError: No batches, or not one caption for each.
    """
    if not batches:
        raise ValueError("batches must hold at least one batch, but got []")
    if captions is None:
        captions = [_caption(batch, columns) for batch in batches]
    if len(captions) != len(batches):
        raise ValueError(
            f"captions must be one for each of {len(batches)} batches, but got "
            f"{list(captions)}"
        )
    gap = 2
    rows = []
    for batch in batches:
        tiles = [
            np.pad(image, ((0, 0), (0, gap), (0, 0)), constant_values=255)
            for image in batch[:columns]
        ]
        rows.append(np.concatenate(tiles, axis=1))
    widest = max(row.shape[1] for row in rows)
    inch = 10.5 / widest
    heights = [row.shape[0] * inch for row in rows]
    figure = new_figure(12, sum(heights) + 0.35 * len(rows) + 0.8)
    figure.suptitle(title)
    axes = figure.subplots(len(rows), 1, gridspec_kw=dict(height_ratios=heights))
    for axis, row, caption in zip(np.atleast_1d(axes), rows, captions):
        axis.imshow(row, interpolation="nearest")
        axis.set_xlim(-0.5, widest - 0.5)
        axis.set_title(caption, loc="left", fontsize=9)
        axis.axis("off")
    save_figure(figure, path)


def _caption(batch: np.ndarray, columns: int) -> str:
    count, height, width = batch.shape[:3]
    first = f" (first {columns})" if count > columns else ""
    return f"{height} × {width} px, {count} a batch{first}"
