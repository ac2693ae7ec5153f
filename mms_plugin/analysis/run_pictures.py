"""Pictures of what trainings logged, several side by side.

A training has one colour, line and marker in every picture. What has more points than
a picture has room for is drawn as means over equal stretches.
"""

from __future__ import annotations

from typing import (
    Any,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

from .agvm_curves import running_mean
from .pictures import _COLOURS, _LINES, _MARKERS, PathLike, _figure, _save

__all__ = [
    "MetricCurve",
    "draw_agvm",
    "draw_losses",
    "draw_metrics",
    "draw_sizes",
    "thinned",
]

Points = Sequence[Tuple[float, float]]

# The 7th of Okabe and Ito's; their yellow is too light for a line.
_LINE_COLOURS = (*_COLOURS, "#56B4E9")
_MOST_POINTS = 400
# Up to so many iterations each is a dot of its own.
_MOST_DOTS = 1500
_STRETCHES = 90
_MOST_TICKS = 10
_MARKS = 12


class MetricCurve(NamedTuple):
    """A metric of a training, validation by validation.

    Attributes:
        times: Epochs or iterations done before each.
        costs: What the training had cost by then.
        values: The metric's.
    """

    times: Sequence[float]
    costs: Sequence[float]
    values: Sequence[float]


def thinned(points: Points, most: int = _MOST_POINTS) -> List[Tuple[float, float]]:
    """As many points, or the means of ``most`` equal stretches where there are more.

    Values that are not finite are left out of the means.
    """
    if len(points) <= most:
        return [(float(x), float(y)) for x, y in points]
    means = []
    for part in np.array_split(np.asarray(points, float), most):
        finite = part[np.isfinite(part[:, 1]), 1]
        value = float(finite.mean()) if len(finite) else float("nan")
        means.append((float(part[:, 0].mean()), value))
    return means


def _style(number: int, marks: bool = False) -> Dict[str, Any]:
    # After all colours, other lines and markers for each.
    shifted = number + number // len(_LINE_COLOURS)
    style = dict(
        color=_LINE_COLOURS[number % len(_LINE_COLOURS)],
        linestyle=_LINES[shifted % len(_LINES)],
        linewidth=1.6,
    )
    if marks:
        style.update(marker=_MARKERS[shifted % len(_MARKERS)], markersize=5)
    return style


def _plot(axis: Any, points: Points, number: int, label: str, marks: bool) -> None:
    points = thinned(points)
    xs, ys = zip(*points) if points else ((), ())
    style = _style(number, marks)
    if marks:
        # As many marks as tell the lines apart, at other places in each.
        every = max(1, len(points) // _MARKS)
        style["markevery"] = (number * every // 7 % every, every)
    axis.plot(xs, ys, label=label, **style)


def _plain_axis(axis: Any) -> None:
    axis.grid(alpha=0.3)
    axis.xaxis.set_major_formatter("{x:,.10g}")


def _legend(figure: Any, axes: Sequence[Any]) -> None:
    """One for the figure, above the panels."""
    entries: Dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    if not entries:
        return
    longest = max(len(label) for label in entries)
    columns = max(1, min(len(entries), int(12 * figure.get_figwidth() / (longest + 8))))
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside upper center",
        ncols=columns,
        fontsize=9,
        frameon=False,
        handlelength=3.2,
    )


def draw_sizes(
    plans: Mapping[str, Sequence[Tuple[int, int, int]]],
    path: PathLike,
    notes: Optional[Mapping[str, str]] = None,
) -> None:
    """Sizes and batch sizes of every iteration, a row for each training.

    Each iteration is a dot; where they are too many, the shade tells how often a size
    was drawn in a stretch of them. The black line is the mean.

    Args:
        plans: ``(height, width, batch_size)`` of every iteration, by the training's
            name. Where empty, the row has the note alone.
        path: The PNG to write.
        notes: To stand above a training's row, by its name. Default: none.
    """
    notes = notes or {}
    figure = _figure(11, 0.6 + 2.5 * len(plans))
    axes = figure.subplots(len(plans), 2, sharex=True, sharey="col", squeeze=False)
    square = all(h == w for plan in plans.values() for h, w, _ in plan)
    side = "image side (px)" if square else "image side,\n√(height · width) (px)"
    for number, (row, (name, plan)) in enumerate(zip(axes, plans.items())):
        colour = _LINE_COLOURS[number % len(_LINE_COLOURS)]
        sides = np.sqrt([float(h * w) for h, w, _ in plan])
        images = np.array([float(batch_size) for _, _, batch_size in plan])
        title = f"{name}: " + (
            f"{len(plan):,} iterations" if plan else "no sizes in its log"
        )
        if name in notes:
            title += f" ({notes[name]})"
        row[0].set_title(title, loc="left", fontsize=10)
        for axis, values, label in (
            (row[0], sides, side),
            (row[1], images, "images a batch, per rank"),
        ):
            _draw_drawn(axis, values, colour)
            axis.set_ylabel(label)
            _plain_axis(axis)
    for column in range(2):
        axes[-1, column].set_xlabel("iteration")
        drawn = np.unique(
            [
                round(float(value), 1)
                for plan in plans.values()
                for h, w, b in plan
                for value in [np.sqrt(h * w) if column == 0 else b]
            ]
        )
        if 0 < len(drawn) <= _MOST_TICKS and column == 0:
            axes[0, column].set_yticks(drawn, [f"{value:g}" for value in drawn])
        axes[0, column].set_ylim(bottom=0 if column else None)
    _save(figure, path)


def _draw_drawn(axis: Any, values: np.ndarray, colour: str) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    if not len(values):
        return
    stretches = np.array_split(np.arange(len(values)), min(_STRETCHES, len(values)))
    if len(np.unique(values)) == 1:
        axis.plot([1, len(values)], values[[0, -1]], color=colour, linewidth=2)
        return
    if len(values) <= _MOST_DOTS:
        axis.plot(
            np.arange(1, len(values) + 1), values, ".", markersize=3, color=colour
        )
    else:
        segments, shades = [], []
        for stretch in stretches:
            found, counts = np.unique(values[stretch], return_counts=True)
            for value, share in zip(found, counts / len(stretch)):
                segments.append([(stretch[0] + 1, value), (stretch[-1] + 2, value)])
                # Black would be lost under the mean; a rare size is still seen.
                shades.append((*to_rgb(colour), 0.12 + 0.88 * share**0.7))
        lines = LineCollection(segments, colors=shades, linewidths=5, capstyle="butt")
        axis.add_collection(lines)
        axis.autoscale_view()
    middle = [stretch.mean() + 1 for stretch in stretches]
    mean = [values[stretch].mean() for stretch in stretches]
    axis.plot(middle, mean, color="white", linewidth=3)
    axis.plot(middle, mean, color="black", linewidth=1.3, label="mean")
    axis.legend(loc="upper right", fontsize=8, framealpha=0.9)


def draw_losses(panels: Mapping[str, Mapping[str, Points]], path: PathLike) -> None:
    """Learning rates and losses over the iterations, one panel each.

    Args:
        panels: ``(iteration, value)`` by the training's name, by the panel's title. A
            training has the same place in all of them.
        path: The PNG to write.

    Raises:
        ValueError: No panels.
    """
    if not panels:
        raise ValueError("panels={} must hold at least one panel")
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    columns = 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    rows = -(-len(panels) // columns)
    figure = _figure(5.0 * columns + 1, 2.9 * rows + 0.7)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    for number, (axis, (title, panel)) in enumerate(zip(axes, panels.items())):
        for name, points in panel.items():
            _plot(axis, points, names.index(name), name, marks=False)
        axis.set_ylabel(title)
        _plain_axis(axis)
        if number + columns >= len(panels):
            axis.set_xlabel("iteration")
            axis.tick_params(labelbottom=True)
    for axis in axes[len(panels) :]:
        axis.remove()
    _legend(figure, axes[: len(panels)])
    _save(figure, path)


def draw_metrics(
    metrics: Mapping[str, Mapping[str, MetricCurve]],
    path: PathLike,
    time_label: str,
    cost_label: str,
) -> None:
    """Metrics over the time of the training and over its cost, side by side.

    Args:
        metrics: A curve by the training's name, by the metric's name; one row each.
        path: The PNG to write.
        time_label: Of the left panels, such as ``'epoch'``.
        cost_label: Of the right panels, with the unit.

    Raises:
        ValueError: No metrics.
    """
    if not metrics:
        raise ValueError("metrics={} must hold at least one metric")
    names = list(dict.fromkeys(name for curves in metrics.values() for name in curves))
    figure = _figure(11, 3.2 * len(metrics) + 0.7)
    axes = figure.subplots(len(metrics), 2, sharex="col", sharey="row", squeeze=False)
    for row, (metric, curves) in zip(axes, metrics.items()):
        for name, curve in curves.items():
            number = names.index(name)
            _plot(row[0], [*zip(curve.times, curve.values)], number, name, True)
            _plot(row[1], [*zip(curve.costs, curve.values)], number, name, True)
        row[0].set_ylabel(metric)
        for axis in row:
            _plain_axis(axis)
    axes[-1, 0].set_xlabel(time_label)
    axes[-1, 1].set_xlabel(cost_label)
    axes[-1, 1].set_xlim(left=0)
    _legend(figure, axes.ravel())
    _save(figure, path)


def draw_agvm(
    curves: Mapping[str, Mapping[str, Points]], path: PathLike, window: int = 9
) -> None:
    """AGVM's variances and multipliers by module, a row for each training.

    Args:
        curves: ``(iteration, value)`` by ``'mu/<module>'`` and ``'phi/<module>'``
            (:func:`agvm_curves`), by the training's name.
        path: The PNG to write.
        window: Measurements that a point of phi is the mean of, so that one can tell
            the lines apart; fewer where there are few. Default: 9.

    Raises:
        ValueError: No training, or none with curves.
    """
    if not any(curves.values()):
        raise ValueError("curves must hold at least one training with AGVM's")
    modules = list(
        dict.fromkeys(key.partition("/")[2] for own in curves.values() for key in own)
    )
    figure = _figure(11, 3.4 * len(curves) + 0.7)
    axes = figure.subplots(len(curves), 2, sharex=True, sharey="col", squeeze=False)
    for row, (name, own) in zip(axes, curves.items()):
        shortest = min((len(p) for k, p in own.items() if k[:4] == "phi/"), default=0)
        of = max(1, min(window, shortest // 4))
        for key, points in own.items():
            kind, _, module = key.partition("/")
            number = modules.index(module)
            if kind == "phi":
                _plot(row[0], running_mean(points, of), number, module, True)
            elif kind == "mu":
                _plot(row[1], points, number, module, True)
        smoothed = f" (mean of {of} records)" if of > 1 else ""
        row[0].set_title(f"{name}{smoothed}", loc="left", fontsize=10)
        row[0].set_ylabel("φ: gradient variance, 1 − cos")
        row[0].set_ylim(bottom=0)
        row[1].set_ylabel("μ: factor on the learning rate")
        row[1].set_yscale("log", base=2)
        row[1].yaxis.set_major_formatter("{x:g}")
        row[1].axhline(1, color="0.6", linewidth=0.8, zorder=0)
        for axis in row:
            _plain_axis(axis)
    for axis in axes[-1]:
        axis.set_xlabel("iteration")
    _legend(figure, axes.ravel())
    _save(figure, path)
