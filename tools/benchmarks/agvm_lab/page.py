"""The page about large batches and its figures, from the results."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence, Set

from lab.figures import Line, Panel, draw_panels
from lab.pages import update_page

from . import summary, tables
from .grid import Result, curve, select

KINDS = {False: "plain", True: "AGVM"}


def write_page(results: Sequence[Result], page: Path, seeds: int = 3) -> None:
    """Write tables and figures into a page, and the figures beside it.

    A part without results says so.

    Args:
        results: Results of the arms that are done.
        page: The page. What lies outside the markers stays as it is.
        seeds: Seeds at the best rates, for the list of what is missing.
    """
    page = Path(page).resolve()
    page.parent.mkdir(parents=True, exist_ok=True)
    blocks: Dict[str, str] = dict(status=tables.status(results, seeds))
    blocks["best-rates"] = tables.best_rates(results)
    blocks["ap-over-batch"] = _figure(page, "ap_over_batch", ap_over_batch, results)
    blocks["all-rates"] = tables.all_rates(results)
    blocks["ap-over-rate"] = _figure(page, "ap_over_rate", ap_over_rate, results)
    blocks["seeds"] = tables.seeds(results)
    blocks["edges"] = tables.edges(results)
    blocks["pretrained"] = tables.pretrained(results)
    blocks["variances"] = tables.variances(results)
    blocks["phi-over-batch"] = _figure(page, "phi_over_batch", phi_over_batch, results)
    blocks["phi-over-training"] = _figure(
        page, "phi_over_training", phi_over_training, results
    )
    blocks["multipliers"] = _figure(page, "multipliers", multipliers, results)
    blocks["ablations"] = tables.ablations(results)
    blocks["long-runs"] = tables.long_runs(results)
    blocks["averaged"] = tables.averaged(results)
    blocks["schedules"] = tables.schedules(results)
    blocks["multi-scale"] = tables.multi_scale(results)
    blocks["other-models"] = tables.other_models(results)
    update_page(page, "Large batches", blocks)


Draw = Callable[[Sequence[Result], Path], str]


def _figure(page: Path, name: str, draw: Draw, results: Sequence[Result]) -> str:
    """Return the link to a figure, or that there is nothing to draw."""
    path = page.with_name(f"{page.stem}_{name}.png")
    caption = draw(results, path)
    return f"![{caption}]({path.name})" if caption else tables.NOTHING


def ap_over_batch(results: Sequence[Result], path: Path) -> str:
    """Draw AP at the best rate over the batch; return the caption, empty if none."""
    panels: List[Panel] = []
    names = summary.optimizers(results)
    ticks = sorted({b for name in names for b in summary.batches(results, name)})
    for optimizer in names:
        lines = []
        present = summary.batches(results, optimizer)
        for kind, label in KINDS.items():
            bests = {
                batch: best
                for batch in present
                for best in [summary.best_of(results, optimizer, batch, kind)]
                if best is not None
            }
            if bests:
                lines.append(
                    Line(
                        label,
                        list(bests),
                        [best.mean for best in bests.values()],
                        [min(best.aps) for best in bests.values()],
                        [max(best.aps) for best in bests.values()],
                        hollow=[b for b, best in bests.items() if not best.complete],
                    )
                )
        if lines:
            panels.append(Panel(tables.optimizer_name(optimizer), lines, ticks))
    title = "AP at the best rate; bars: lowest and highest of the seeds"
    return _draw(
        panels and [panels],
        path,
        "batch",
        "box AP, percent",
        title,
        hollow="neighboring rates not trained",
    )


def ap_over_rate(results: Sequence[Result], path: Path) -> str:
    """Draw AP over the rate, a row of panels for each optimizer."""
    rows: List[List[Panel]] = []
    for optimizer in summary.optimizers(results):
        row = []
        for batch in summary.batches(results, optimizer):
            row.append(_rates_panel(results, optimizer, batch))
        if row:
            rows.append(row)
    return _draw(
        rows,
        path,
        "learning rate",
        "box AP, percent",
        "AP over the learning rate",
        "diverged",
    )


def _rates_panel(results: Sequence[Result], optimizer: str, batch: int) -> Panel:
    lines = []
    ticks: Set[float] = set()
    for kind, label in KINDS.items():
        key = dict(optimizer=optimizer, batch=batch, agvm=kind, model="faster-rcnn")
        values = curve(results, **key)
        arms = select(results, variant="default", seed=0, **key)
        marks = [arm["lr"] for arm in arms if arm["diverged"]]
        kept = sorted((r, ap) for r, ap in values.items() if r not in marks)
        ticks.update(values)
        if values:
            lines.append(
                Line(label, [r for r, _ in kept], [ap for _, ap in kept], marks=marks)
            )
    name = tables.optimizer_name(optimizer)
    return Panel(f"{name}, batch {batch}", lines, sorted(ticks))


def phi_over_batch(results: Sequence[Result], path: Path) -> str:
    """Draw the variance of each module over the batch."""
    panels = []
    for optimizer in summary.optimizers(results):
        points: Dict[str, Dict[int, float]] = {}
        for batch in summary.batches(results, optimizer):
            arm = summary.agvm_arm(results, optimizer, batch)
            for name, value in (summary.middle_variances(arm) if arm else {}).items():
                points.setdefault(name, {})[batch] = value
        if points:
            lines = [
                Line(tables.module_name(n), list(line), list(line.values()))
                for n, line in points.items()
            ]
            ticks = sorted({batch for line in points.values() for batch in line})
            panels.append(Panel(tables.optimizer_name(optimizer), lines, ticks))
    title = "Gradient variance by module, middle third of the training"
    return _draw(panels and [panels], path, "batch", "Φ", title)


def phi_over_training(results: Sequence[Result], path: Path) -> str:
    """Draw the variances over the training at AGVM's best rates."""
    title = "Gradient variance over the training, at AGVM's best rate"
    return _over_training(results, path, "phi", "Φ", title)


def multipliers(results: Sequence[Result], path: Path) -> str:
    """Draw the multipliers over the training at AGVM's best rates."""
    title = "AGVM's multipliers over the training, at its best rate"
    return _over_training(results, path, "mu", "multiplier", title)


def _over_training(
    results: Sequence[Result], path: Path, key: str, y_label: str, title: str
) -> str:
    """Draw what AGVM measured, a row of panels for each optimizer."""
    rows = []
    for optimizer in summary.optimizers(results):
        row = []
        for batch in summary.batches(results, optimizer):
            arm = summary.agvm_arm(results, optimizer, batch)
            if arm is not None:
                row.append(_measured_panel(arm, key))
        if row:
            rows.append(row)
    return _draw(rows, path, "part of the training", y_label, title)


def _measured_panel(arm: Result, key: str) -> Panel:
    lines = []
    for name in arm["mean_multipliers"]:
        parts = [part for part in arm["measured"] if name in part[key]]
        x = [part["update"] / arm["updates"] for part in parts]
        y = [part[key][name] for part in parts]
        lines.append(Line(tables.module_name(name), x, y, markers=False))
    optimizer = tables.optimizer_name(arm["optimizer"])
    return Panel(f"{optimizer}, batch {arm['batch']}, rate {arm['lr']:g}", lines)


def _draw(
    rows: Any,
    path: Path,
    x_label: str,
    y_label: str,
    title: str,
    marks: str = "",
    hollow: str = "",
) -> str:
    if not rows:
        return ""
    draw_panels(rows, path, x_label, y_label, title, marks, hollow)
    return title
