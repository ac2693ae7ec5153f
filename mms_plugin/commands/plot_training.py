"""Draw what trainings did, from their work dirs: sizes, rates, losses, metrics, AGVM.

Reads the log that MMEngine's LocalVisBackend writes (on by default) and the config
dumped beside it. A resumed training is joined; one that still runs is drawn so far.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm

from .. import cli
from ..analysis import (
    RunCost,
    RunLog,
    RunSizes,
    agvm_curves,
    build_model,
    model_flops,
    read_run,
    run_cost,
    run_sizes,
    summarize_agvm,
)
from ..analysis import run_pictures as pictures
from ..evaluation.conditions import metric_value
from ..multi_scale import Size
from ..utils.si_prefix import si_prefix, si_text

# Panels of a picture that are still legible.
MOST_METRICS = 4
MOST_LOSSES = 7


class Run(NamedTuple):
    """A training with all that is drawn of it."""

    label: str
    log: RunLog
    sizes: Optional[RunSizes]
    sizes_error: str


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    parser.add_argument(
        "work_dirs", nargs="+", metavar="WORK_DIR", help="folder of a training"
    )
    parser.add_argument(
        "--labels", nargs="+", help="a name for each WORK_DIR (default: its folder's)"
    )
    parser.add_argument(
        "--metrics",
        nargs="+",
        metavar="NAME",
        help=f"validation metrics to draw (default: the first {MOST_METRICS}, without "
        "variants of another metric, such as bbox_mAP_50 of bbox_mAP)",
    )
    parser.add_argument(
        "--cost",
        choices=("flops", "pixels"),
        default="flops",
        help="cost on the x-axis of the metrics (default: flops, counted on the "
        "config's model; pixels if they cannot be counted)",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="folder for the pictures (default: the first WORK_DIR)",
    )
    parser.add_argument("--json", action="store_true", help="print only JSON")
    return parser.parse_args(argv)


def read_runs(args: argparse.Namespace) -> List[Run]:
    """Read the logs of all work dirs, and the sizes that they trained on."""
    labels = args.labels or default_labels(args.work_dirs)
    if len(labels) != len(args.work_dirs):
        raise cli.UserError(
            f"--labels must be one for each of {len(args.work_dirs)} work dirs, but "
            f"got {len(labels)}"
        )
    if len(set(labels)) < len(labels):
        raise cli.UserError(f"--labels must differ, but got {' '.join(labels)}")
    runs = []
    for label, work_dir in zip(labels, args.work_dirs):
        try:
            log = read_run(work_dir)
        except (ValueError, OSError) as error:
            raise cli.UserError(cli.one_line(error)) from error
        sizes, why = None, ""
        try:
            cli.enter_scope(log.config)
            sizes = run_sizes(log)
        except (ValueError, KeyError, TypeError, ImportError) as error:
            why = cli.one_line(error)
        runs.append(Run(label, log, sizes, why))
    return runs


def default_labels(work_dirs: Sequence[str]) -> List[str]:
    """Return the shortest ends of the paths that differ."""
    paths = [Path(work_dir).resolve() for work_dir in work_dirs]
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        labels = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(labels)) == len(labels):
            return labels
    raise cli.UserError("a work dir is named twice")


# ------------------------------------------------------------------------ the cost


def flops_of(runs: List[Run]) -> Tuple[Optional[List[Dict[Size, float]]], str]:
    """Return the FLOPs of an image by size of each run's model; else None and why."""
    wanted: Dict[str, set] = {}
    keys = []
    for run in runs:
        if run.sizes is None:
            return None, f"{run.label}: {run.sizes_error}"
        if run.log.config is None:
            return None, f"{run.label}: {run.log.config_error}"
        parts = {
            key: run.log.config.get(key)
            for key in ("model", "data_preprocessor", "default_scope")
        }
        # One model in two runs is counted once.
        keys.append(Config(parts).pretty_text)
        wanted.setdefault(keys[-1], set()).update(run.sizes.sizes)
    counted: Dict[str, Dict[Size, float]] = {}
    for run, key in zip(runs, keys):
        if key in counted:
            continue
        try:
            cli.enter_scope(run.log.config)
            model = revert_sync_batchnorm(build_model(run.log.config))
            counted[key] = model_flops(model, wanted[key])[0]
        except Exception as error:  # a model's own, of any kind
            if cli.debugging():
                raise
            return None, f"{run.label}: {cli.one_line(error)}"
    return [counted[key] for key in keys], ""


def costs_of(
    runs: List[Run], cost: str
) -> Tuple[List[Optional[RunCost]], Optional[str], str]:
    """Return what each run has cost, as ``'flops'`` or ``'pixels'``, and a note."""
    flops, note = flops_of(runs) if cost == "flops" else (None, "")
    if flops is None and cost == "flops":
        note = f"FLOPs cannot be counted ({note}); the axis shows pixels instead"
    costs: List[Optional[RunCost]] = []
    for number, run in enumerate(runs):
        if run.sizes is None:
            costs.append(None)
            continue
        log = run.log
        per_image = None if flops is None else flops[number]
        costs.append(run_cost(run.sizes, log.iterations, log.world_sizes, per_image))
    if not any(costs):
        return costs, None, f"no cost: {runs[0].sizes_error}"
    return costs, "pixels" if flops is None else "flops", note


def size_note(sizes: RunSizes) -> str:
    """Return what to know of sizes that are not all in the log."""
    if sizes.missing:
        return f"iterations 1 to {sizes.missing:,} are not in the log"
    return "" if sizes.source == "log" else f"from its {sizes.source}"


def notes_on_cost(runs: List[Run]) -> List[str]:
    """Return a sentence for each run whose sizes are not all known."""
    notes = []
    for run in runs:
        if run.sizes and run.sizes.missing:
            note = f"{size_note(run.sizes)}, so sizes and cost leave them out"
            notes.append(f"{run.label}: {note}")
        elif run.sizes and run.sizes.mixture:
            note = "no sizes in the log, so the cost is that of drawing from all sizes"
            notes.append(f"{run.label}: {note}, without a curriculum")
    return notes


# -------------------------------------------------------------------- the pictures


def chosen_metrics(runs: List[Run], names: Optional[List[str]]) -> List[str]:
    """Return the metrics to draw."""
    found = list(dict.fromkeys(name for run in runs for name in run.log.metrics))
    if names:
        unknown = [name for name in names if name not in found]
        if unknown:
            raise cli.UserError(
                f"--metrics {unknown[0]} is not in the logs; they have "
                + (", ".join(found) or "no validation")
            )
        return names
    main = [
        name
        for name in found
        if not any(name != other and name.startswith(f"{other}_") for other in found)
    ]
    return main[:MOST_METRICS]


def draw(
    runs: List[Run],
    costs: List[Optional[RunCost]],
    unit: Optional[str],
    metrics: List[str],
    folder: Path,
) -> Dict[str, str]:
    """Write the pictures; their paths by name."""
    paths: Dict[str, str] = {}

    def path_of(name: str) -> str:
        paths[name] = str(folder / f"training_{name}.png")
        return paths[name]

    notes = {}
    for run in runs:
        if run.sizes is None:
            notes[run.label] = shorten(run.sizes_error)
        elif size_note(run.sizes):
            notes[run.label] = size_note(run.sizes)
    plans = {run.label: run.sizes.plan if run.sizes else [] for run in runs}
    mixtures = {
        run.label: (run.log.iterations, run.sizes.mixture)
        for run in runs
        if run.sizes and run.sizes.mixture
    }
    if any(plans.values()) or mixtures:
        missing = {run.label: run.sizes.missing for run in runs if run.sizes}
        pictures.draw_sizes(plans, path_of("sizes"), mixtures, notes, missing)

    panels = loss_panels(runs)
    if panels:
        pictures.draw_losses(panels, path_of("losses"))
    curves = metric_curves(runs, costs, unit, metrics)
    if curves:
        pictures.draw_metrics(
            curves, path_of("metrics"), time_label(runs), cost_label(costs, unit)
        )
    agvm = {run.label: agvm_curves(run.log.records) for run in runs}
    agvm = {label: own for label, own in agvm.items() if own}
    if agvm:
        pictures.draw_agvm(agvm, path_of("agvm"))
    return paths


def shorten(text: str, most: int = 90) -> str:
    """Return the text, cut to at most ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def loss_panels(runs: List[Run]) -> Dict[str, Dict[str, Any]]:
    """Return the series of learning rates and losses, by panel and run."""
    rates = list(dict.fromkeys(n for run in runs for n in run.log.learning_rates))
    losses = list(dict.fromkeys(n for run in runs for n in run.log.losses))
    # Those of a decoder's earlier layers, d0.loss_cls, would crowd out the others.
    losses = [name for name in losses if not re.match(r"(d|s|stage)\d+\.", name)]
    panels: Dict[str, Dict[str, Any]] = {}
    for name in [*rates[:2], *losses[:MOST_LOSSES]]:
        title = name.replace("lr", "learning rate") if name in rates else name
        series = {run.label: run.log.series(name) for run in runs}
        if any(series.values()):
            panels[title] = series
    # With only one loss the total says the same.
    if len(losses) == 2 and losses[0] == "loss":
        panels.pop(losses[1], None)
    return panels


def by_epoch(runs: List[Run]) -> bool:
    """Return whether all runs count in epochs."""
    return all(run.log.by_epoch for run in runs)


def time_label(runs: List[Run]) -> str:
    """Return the label of the axis of time."""
    return "epoch" if by_epoch(runs) else "iteration"


def metric_curves(
    runs: List[Run],
    costs: List[Optional[RunCost]],
    unit: Optional[str],
    metrics: List[str],
) -> Dict[str, Dict[str, pictures.MetricCurve]]:
    """Return the curves over time and cost, by metric and run."""
    factor, _ = si_prefix(max((cost.total for cost in costs if cost), default=1.0))
    epochs = by_epoch(runs)
    curves: Dict[str, Dict[str, pictures.MetricCurve]] = {}
    for metric in metrics:
        for run, cost in zip(runs, costs):
            found = [
                (one, value)
                for one in run.log.validations
                if metric in one.values
                and (value := metric_value(metric, one.values[metric])) is not None
            ]
            if not found:
                continue
            curves.setdefault(metric, {})[run.label] = pictures.MetricCurve(
                [
                    one.iteration if not epochs or one.epoch is None else one.epoch
                    for one, _ in found
                ],
                [
                    float("nan") if cost is None else cost.after(one.iteration) / factor
                    for one, _ in found
                ]
                if unit
                else [one.iteration for one, _ in found],
                [value for _, value in found],
            )
    return curves


def cost_label(costs: List[Optional[RunCost]], unit: Optional[str]) -> str:
    """Return the label of the axis of cost."""
    if unit is None:
        return "iteration (the cost is not known)"
    _, prefix = si_prefix(max(cost.total for cost in costs if cost))
    if unit == "flops":
        return f"training compute so far ({prefix}FLOPs, forward and backward)"
    return f"pixels trained on so far ({prefix}px; FLOPs not counted)"


# --------------------------------------------------------------------- the summary


def summary(run: Run, cost: Optional[RunCost], unit: Optional[str]) -> Dict[str, Any]:
    """Return what ``--json`` prints of a run."""
    log = run.log
    drawn: Dict[Tuple[int, int], List[int]] = {}
    plan, missing = (run.sizes.plan, run.sizes.missing) if run.sizes else ([], 0)
    for (height, width, batch_size), ranks in zip(plan, log.world_sizes[missing:]):
        entry = drawn.setdefault((height, width), [0, 0])
        entry[0] += 1
        entry[1] += batch_size * ranks

    def ends(names: List[str]) -> Dict[str, Dict[str, Optional[float]]]:
        series = {name: [value for _, value in log.series(name)] for name in names}
        return {
            name: dict(
                first=values[0],
                last=values[-1],
                min=min(filter(math.isfinite, values), default=None),
                max=max(filter(math.isfinite, values), default=None),
            )
            for name, values in series.items()
            if values
        }

    def of_cost(kind: str, iteration: Optional[int] = None) -> Optional[float]:
        if cost is None or unit != kind:
            return None
        return cost.total if iteration is None else cost.after(iteration)

    metrics: Dict[str, List[Dict[str, Any]]] = {}
    for one in log.validations:
        for name, value in one.values.items():
            metrics.setdefault(name, []).append(
                dict(
                    epoch=one.epoch,
                    iteration=one.iteration,
                    train_flops=of_cost("flops", one.iteration),
                    train_pixels=of_cost("pixels", one.iteration),
                    value=metric_value(name, value),
                )
            )
    agvm = agvm_curves(log.records)
    return dict(
        label=run.label,
        work_dir=str(log.work_dir),
        starts=log.starts,
        by_epoch=log.by_epoch,
        epochs=log.epochs,
        iterations=log.iterations,
        world_size=log.world_size,
        unreadable_lines=log.unreadable_lines,
        sizes_from=run.sizes.source if run.sizes else None,
        sizes_error=run.sizes_error or None,
        sizes=[
            dict(height=height, width=width, iterations=times, images=images)
            for (height, width), (times, images) in sorted(drawn.items())
        ],
        train_flops=of_cost("flops"),
        train_pixels=of_cost("pixels"),
        learning_rate=ends(log.learning_rates),
        losses=ends(log.losses),
        metrics=metrics,
        agvm=summarize_agvm(agvm) if agvm else None,
    )


def show(document: Mapping[str, Any]) -> None:
    """Print the document as text."""
    unit = "px" if document["cost"] == "pixels" else "FLOPs"
    for run in document["runs"]:
        parts = [f"{run['iterations']:,} iterations"]
        if run["epochs"] is not None:
            parts.insert(0, f"{run['epochs']} epochs")
        if run["starts"] > 1:
            parts.append(f"{run['starts']} starts")
        cost = run["train_flops"] or run["train_pixels"]
        if cost:
            parts.append(si_text(cost, unit))
        print(f"{run['label']}: {', '.join(parts)}")
    for path in document["pictures"].values():
        print(path)


def main(argv: List[str]) -> None:
    """Run the command."""
    args = parse_args(argv)
    with cli.json_on_stdout(args.json) as emit:
        runs = read_runs(args)
        metrics = chosen_metrics(runs, args.metrics)
        folder = Path(args.out or args.work_dirs[0])
        cli.make_folder(str(folder), "--out")
        costs, unit, note = costs_of(runs, args.cost)
        notes = [*([note] if note else []), *notes_on_cost(runs)]
        for text in notes:
            print(text, file=sys.stderr)
        try:
            paths = draw(runs, costs, unit, metrics, folder)
        except (ImportError, OSError) as error:
            raise cli.UserError(cli.one_line(error)) from error
        document = dict(
            runs=[summary(run, cost, unit) for run, cost in zip(runs, costs)],
            cost=unit,
            note="; ".join(notes) or None,
            pictures=paths,
        )
        emit(document)
    if not args.json:
        show(document)
