"""Pictures of what trainings logged, several side by side.

A training has one color, line and marker in all pictures with lines. What has more
points than a picture has room for is drawn as means over equal stretches.
"""

from __future__ import annotations

from typing import (
    Any,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np

from .agvm_curves import running_mean
from .pictures import COLORS, LINES, MARKERS, PathLike, new_figure, save_figure

__all__ = [
    "MetricCurve",
    "draw_agvm",
    "draw_losses",
    "draw_metrics",
    "draw_sizes",
    "thinned",
]

Points = Sequence[Tuple[float, float]]
Drawn = Tuple[int, int, int]

# The 7th of Okabe and Ito's; their yellow is too light for a line.
_LINE_COLORS = (*COLORS, "#56B4E9")
_MOST_POINTS = 200
# Up to this many iterations, each is a dot of its own.
_MOST_DOTS = 1500
_STRETCHES = 90
_MEANS = 30
# Measurements of AGVM that one point is the mean of.
_WINDOW = 9
_FACTORS = (0.1, 0.2, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0)
_DOTS, _MEAN = "#0072B2", "#D55E00"
_MOST_TICKS = 12
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
    """Return the points, or the means of ``most`` equal stretches if there are more.

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
    # After all colors, other lines and markers for each.
    shifted = number + number // len(_LINE_COLORS)
    style = dict(
        color=_LINE_COLORS[number % len(_LINE_COLORS)],
        linestyle=LINES[shifted % len(LINES)],
        linewidth=1.6,
    )
    if marks:
        style.update(marker=MARKERS[shifted % len(MARKERS)], markersize=5)
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
    """Draw one legend for the figure, above the panels."""
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
    plans: Mapping[str, Sequence[Drawn]],
    path: PathLike,
    mixtures: Optional[Mapping[str, Tuple[int, Sequence[Tuple[Drawn, float]]]]] = None,
    notes: Optional[Mapping[str, str]] = None,
    missing: Optional[Mapping[str, int]] = None,
) -> None:
    """Draw sizes and batch sizes of every iteration, a row for each training.

    Each iteration is a dot; where they are too many, the shade tells how often a size
    was drawn in a stretch of them. The line is the mean.

    Args:
        plans: ``(height, width, batch_size)`` of every iteration, by the training's
            name. Where empty, the row has only the mixture or the note.
        path: The PNG to write.
        mixtures: By the training's name, its number of iterations and the share of
            each ``(height, width, batch_size)`` in them. Defaults to none.
        notes: To stand above a training's row, by its name. Defaults to none.
        missing: Iterations before the first one of a plan, by the training's name.
            Defaults to 0.

    Raises:
        ValueError: No plans.
    """
    if not plans:
        raise ValueError("plans={} must hold at least one training")
    notes, mixtures, missing = notes or {}, mixtures or {}, missing or {}
    figure = new_figure(11, 0.9 + 2.5 * len(plans))
    axes = figure.subplots(len(plans), 2, sharex=True, sharey="col", squeeze=False)
    every = [entry for plan in plans.values() for entry in set(plan)]
    every += [entry for _, mixture in mixtures.values() for entry, _ in mixture]
    square = all(height == width for height, width, _ in every)
    labels = (
        "image side (px)" if square else "image side,\n√(height · width) (px)",
        "images a batch, per rank",
    )
    for row, (name, plan) in zip(axes, plans.items()):
        iterations, mixture = len(plan), mixtures.get(name, (0, ()))
        title = f"{name}: {iterations or mixture[0] or 'no sizes'}"
        if iterations or mixture[0]:
            title = f"{name}: {iterations or mixture[0]:,} iterations"
        if name in notes:
            title += f" ({notes[name]})"
        row[0].set_title(title, loc="left", fontsize=10)
        for column, axis in enumerate(row):
            axis.set_ylabel(labels[column])
            _plain_axis(axis)
            if plan:
                values = np.array([_value(entry, column) for entry in plan])
                _draw_drawn(axis, values, missing.get(name, 0) + 1)
            elif mixture[0]:
                stretch = (1.0, float(mixture[0]))
                parts = [
                    (*stretch, _value(e, column), share) for e, share in mixture[1]
                ]
                _draw_shades(axis, parts)
    for axis in axes[-1]:
        axis.set_xlabel("iteration")
    ticks = _apart({_value(entry, 0) for entry in every})
    if 0 < len(ticks) <= _MOST_TICKS:
        axes[0, 0].set_yticks(ticks, [f"{value:.4g}" for value in ticks])
    axes[0, 1].set_ylim(bottom=0)
    axes[0, 1].yaxis.get_major_locator().set_params(integer=True)
    _legend(figure, axes.ravel())
    save_figure(figure, path)


def _value(entry: Drawn, column: int) -> float:
    height, width, batch_size = entry
    return float(batch_size) if column else float(np.sqrt(height * width))


def _apart(values: Iterable[float]) -> List[float]:
    """Return those that are far enough apart to be written side by side."""
    ordered = sorted(values)
    kept: List[float] = []
    for value in ordered:
        if not kept or value - kept[-1] > 0.06 * (ordered[-1] - ordered[0]):
            kept.append(value)
    return kept


def _draw_drawn(axis: Any, values: np.ndarray, first: int) -> None:
    """Draw the values of consecutive iterations, from the ``first`` on."""
    iterations = np.arange(first, first + len(values))
    if len(np.unique(values)) == 1:
        axis.plot(iterations[[0, -1]], values[[0, -1]], color=_DOTS, linewidth=2)
        return
    if len(values) <= _MOST_DOTS:
        label = "an iteration"
        axis.plot(iterations, values, ".", markersize=3.5, color=_DOTS, label=label)
    else:
        parts = []
        for stretch in np.array_split(iterations, _STRETCHES):
            found, counts = np.unique(values[stretch - first], return_counts=True)
            for value, count in zip(found, counts):
                share = count / len(stretch)
                parts.append((stretch[0], stretch[-1] + 1, value, share))
        _draw_shades(axis, parts)
    stretches = np.array_split(iterations, min(_MEANS, len(values)))
    middle = [stretch.mean() for stretch in stretches]
    mean = [values[stretch - first].mean() for stretch in stretches]
    axis.plot(middle, mean, color=_MEAN, linewidth=1.8, label="mean")


def _draw_shades(axis: Any, parts: Sequence[Tuple[float, float, float, float]]) -> None:
    """Draw bars ``(from, to, value, share)``, the darker the larger the share."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgb

    label = "share of the iterations: the darker, the more"
    lines = LineCollection(
        [[(start, value), (stop, value)] for start, stop, value, _ in parts],
        # A rare size is still seen.
        colors=[(*to_rgb(_DOTS), 0.12 + 0.88 * part[3] ** 0.7) for part in parts],
        linewidths=5,
        capstyle="butt",
    )
    axis.add_collection(lines)
    axis.autoscale_view()
    axis.plot([], [], color=_DOTS, linewidth=5, alpha=0.6, label=label)


def draw_losses(panels: Mapping[str, Mapping[str, Points]], path: PathLike) -> None:
    """Draw learning rates and losses over the iterations, one panel each.

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
    figure = new_figure(5.0 * columns + 1, 2.9 * rows + 0.7)
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
    save_figure(figure, path)


def draw_metrics(
    metrics: Mapping[str, Mapping[str, MetricCurve]],
    path: PathLike,
    time_label: str,
    cost_label: str,
) -> None:
    """Draw metrics over the time of the training and over its cost, side by side.

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
    figure = new_figure(11, 3.2 * len(metrics) + 0.7)
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
    save_figure(figure, path)


def draw_agvm(curves: Mapping[str, Mapping[str, Points]], path: PathLike) -> None:
    """Draw AGVM's variances and multipliers by module, a row for each training.

    A point of phi is the mean of nine measurements, so that one can tell the lines
    apart; of fewer where there are few, of a fiftieth of them where there are many.

    Args:
        curves: ``(iteration, value)`` by ``'mu/<module>'`` and ``'phi/<module>'``
            (:func:`agvm_curves`), by the training's name.
        path: The PNG to write.

    Raises:
        ValueError: No training, or none with curves.
    """
    if not any(curves.values()):
        raise ValueError("curves must hold at least one training with AGVM's")
    modules = list(
        dict.fromkeys(key.partition("/")[2] for own in curves.values() for key in own)
    )
    figure = new_figure(11, 3.4 * len(curves) + 0.7)
    axes = figure.subplots(len(curves), 2, sharex=True, sharey="col", squeeze=False)
    for row, (name, own) in zip(axes, curves.items()):
        shortest = min((len(p) for k, p in own.items() if k[:4] == "phi/"), default=0)
        of = max(1, min(_WINDOW, shortest // 4), shortest // 50)
        for key, points in own.items():
            kind, _, module = key.partition("/")
            number = modules.index(module)
            if kind == "phi":
                _plot(row[0], running_mean(points, of), number, module, True)
            elif kind == "mu":
                _plot(row[1], points, number, module, True)
        smoothed = f"\n(mean of {of} records)" if of > 1 else ""
        row[0].set_title(name, loc="left", fontsize=10)
        row[0].set_ylabel(f"φ: gradient variance, 1 − cos{smoothed}")
        row[1].set_ylabel("μ: factor on the learning rate")
        row[1].axhline(1, color="0.6", linewidth=0.8, zorder=0)
        for axis in row:
            _plain_axis(axis)
    for axis in axes[-1]:
        axis.set_xlabel("iteration")
    axes[0, 0].set_ylim(bottom=0)
    factors = [
        value
        for own in curves.values()
        for key, points in own.items()
        for _, value in points
        if key[:3] == "mu/" and value > 0
    ]
    if factors and max(factors) > 4 * min(factors):
        # 1/2 lies as far below 1 as 2 above.
        axes[0, 1].set_yscale("log")
        ticks = [tick for tick in _FACTORS if min(factors) <= tick <= max(factors)]
        for axis in axes[:, 1]:
            axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.set_yticks([], minor=True)
    _legend(figure, axes.ravel())
    save_figure(figure, path)
