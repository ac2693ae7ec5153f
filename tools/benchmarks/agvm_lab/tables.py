"""The tables of the page, from the results."""

from __future__ import annotations

import statistics
from typing import Any, Dict, List, Mapping, Optional, Sequence

from mms_plugin.utils.tables import markdown_table

from . import summary
from .grid import (
    LONG_START_LATE,
    MEAN_RATE_BELOW,
    MEAN_RATE_LONG,
    PRETRAINED_LONG,
    Result,
    Sweep,
    curve,
    select,
)
from .grid import edges as grid_edges

_NAMES = {"sgd": "SGD", "adamw": "AdamW", "lamb": "LAMB"}
_MODULES = {
    "backbone": "backbone",
    "neck": "neck",
    "rpn_head": "RPN",
    "roi_head.bbox_head": "box head",
    "roi_head.mask_head": "mask head",
    "bbox_head": "box head",
    "semantic_head": "semantic head",
}
NOTHING = "No arm of this part has been trained yet."


def optimizer_name(name: str) -> str:
    """Return an optimizer's name as it is written."""
    return _NAMES.get(name, name)


def module_name(name: str) -> str:
    """Return a module's name as the page writes it."""
    return _MODULES.get(name, name)


def best_rates(results: Sequence[Result]) -> str:
    """Return the table of plain training and AGVM, each at its best rate."""
    rows = [
        ["", "batch", "updates", "plain: rate", "AP", "AGVM: rate", "AP"]
        + ["difference", "worst AGVM − best plain"]
    ]
    open_sweeps = False
    for optimizer in summary.optimizers(results):
        places = [(batch, "default") for batch in summary.batches(results, optimizer)]
        for variant in ("long", LONG_START_LATE):
            found = select(results, optimizer=optimizer, variant=variant)
            places += [(batch, variant) for batch in {arm["batch"] for arm in found}]
        for batch, variant in sorted(places):
            late = variant == LONG_START_LATE
            plain_variant = "long" if late else variant
            off_grid = (MEAN_RATE_LONG,) if plain_variant == "long" else ()
            place = (results, optimizer, batch)
            bests = [
                summary.best_of(*place, False, plain_variant, off_grid),
                summary.best_of(*place, True, variant),
            ]
            plain, agvm = bests
            known = [best for best in bests if best is not None]
            if not known:
                continue
            row = [optimizer_name(optimizer), str(batch), str(known[0].updates)]
            row += [*_best_cells(plain), *_best_cells(agvm)]
            if late and agvm is not None:
                row[5] += ", late start"
            for best in bests:
                open_sweeps = open_sweeps or (best is not None and not best.complete)
            if plain is not None and agvm is not None:
                # The spread of one seed is unknown.
                spread_known = min(len(plain.aps), len(agvm.aps)) > 1
                row += [
                    _signed(agvm.mean - plain.mean),
                    _signed(summary.gap(plain, agvm)) if spread_known else "",
                ]
            else:
                row += ["", ""]
            rows.append(row)
    if len(rows) == 1:
        return NOTHING
    note = (
        "Box AP in percent; with several seeds their mean, and lowest to highest. Late "
        "start: AGVM starts at twice the time, about where its fitted `start_iter` is."
    )
    if open_sweeps:
        note += " `?`: the rates around it have not all been trained."
    return markdown_table(rows) + f"\n\n{note}"


def pretrained(results: Sequence[Result]) -> str:
    """Return the table of the arms with a pre-trained backbone."""
    rows = [["", "batch", "", "AP at each rate", "best rate", "AP there"]]
    for optimizer in summary.optimizers(results):
        for batch in (256, 16):
            for kind in (False, True):
                key: Dict[str, Any] = dict(optimizer=optimizer, batch=batch, agvm=kind)
                found = select(results, variant="pretrained", seed=0, **key)
                if not found:
                    continue
                cells = [
                    f"{arm['lr']:g}: {_box_ap(arm)}"
                    for arm in sorted(found, key=lambda arm: arm["lr"])
                ]
                best = summary.best_of(results, optimizer, batch, kind, "pretrained")
                name = "AGVM" if kind else "plain"
                row = [optimizer_name(optimizer), str(batch), name, ", ".join(cells)]
                rows.append([*row, *_best_cells(best)])
    return markdown_table(rows, range(4)) if len(rows) > 1 else NOTHING


def seeds(results: Sequence[Result]) -> str:
    """Return the table of all rates that more than one seed has been trained at."""
    rows = [["", "batch", "backbone", "rate", "", "AP of the seeds"]]
    kinds = (
        ("default", False, "scratch", "plain"),
        ("default", True, "scratch", "AGVM"),
        (MEAN_RATE_BELOW, False, "scratch", "plain"),
        ("long", False, "scratch", "plain, more epochs"),
        ("long", True, "scratch", "AGVM, more epochs"),
        (LONG_START_LATE, True, "scratch", "AGVM, more epochs and late start"),
        ("start-late", True, "scratch", "AGVM, start at twice the time"),
        ("edge-start-late", True, "scratch", "AGVM, start at twice the time"),
        ("pretrained", False, "trained", "plain"),
        ("pretrained", True, "trained", "AGVM, start at twice the time"),
    )
    for optimizer in summary.optimizers(results):
        key = dict(optimizer=optimizer, model="faster-rcnn")
        found = select(results, **key)
        places = {
            (arm["batch"], pretrained, arm["lr"])
            for arm in found
            for pretrained in [arm["variant"] == "pretrained"]
            if arm["seed"]
        }
        for batch, pretrained, rate in sorted(places):
            for variant, agvm, backbone, name in kinds:
                if (variant == "pretrained") != pretrained:
                    continue
                own = dict(variant=variant, agvm=agvm, batch=batch, lr=rate)
                arms = {arm["seed"]: arm for arm in select(found, **own)}
                if arms:
                    # A seed that is not trained yet leaves a gap.
                    order = range(max(arms) + 1)
                    aps = ", ".join(
                        _box_ap(arms[s]) if s in arms else "?" for s in order
                    )
                    row = [optimizer_name(optimizer), str(batch), backbone]
                    rows.append([*row, f"{rate:g}", name, aps])
    return markdown_table(rows, (0, 2, 4, 5)) if len(rows) > 1 else NOTHING


def _mean_ap(arms: Sequence[Result]) -> str:
    """Return the mean AP of the seeds of an arm, with the lowest and the highest."""
    aps = [arm["ap"] for arm in arms if not arm["diverged"]]
    if len(aps) < 2 or len(aps) < len(arms):
        return ", ".join(map(_box_ap, arms))
    return _mean_and_range(aps)


def _mean_and_range(aps: Sequence[float]) -> str:
    mean = f"{statistics.mean(aps):.1f}"
    return mean if len(aps) < 2 else f"{mean} ({min(aps):.1f} to {max(aps):.1f})"


def _box_ap(arm: Result) -> str:
    return "diverged" if arm["diverged"] else f"{arm['ap']:.1f}"


def _best_cells(best: Optional[summary.Best]) -> List[str]:
    if best is None:
        return ["", ""]
    ap = _mean_and_range(best.aps)
    if best.diverged:
        ap += f"; {best.diverged} of {best.diverged + len(best.aps)} seeds diverged"
    return [f"{best.rate:g}" + ("" if best.complete else " ?"), ap]


def all_rates(results: Sequence[Result]) -> str:
    """Return the table of AP over all rates, and how wide the good range is.

    With AGVM, the difference to plain training at the same rate is in brackets.
    """
    rows = [["", "batch", "", "AP at each rate", "within 10 % of the best"]]
    for optimizer in summary.optimizers(results):
        for batch in summary.batches(results, optimizer):
            for kind in (False, True):
                key = dict(
                    optimizer=optimizer, batch=batch, agvm=kind, model="faster-rcnn"
                )
                values = curve(results, **key)
                if not values:
                    continue
                own = _alive(results, **key)
                plain = _alive(results, **{**key, "agvm": False}) if kind else {}
                cells = []
                for rate in sorted(values):
                    cell = f"{own[rate]:.1f}" if rate in own else "diverged"
                    if rate in own and rate in plain:
                        cell += f" ({_signed(own[rate] - plain[rate])})"
                    cells.append(f"{rate:g}: {cell}")
                width = _width(values)
                rows.append(
                    [
                        optimizer_name(optimizer),
                        str(batch),
                        "AGVM" if kind else "plain",
                        ", ".join(cells),
                        width,
                    ]
                )
    if len(rows) == 1:
        return NOTHING
    note = "Seed 0. In brackets: AGVM less plain training at the same rate."
    return markdown_table(rows, range(5)) + f"\n\n{note}"


def _alive(results: Sequence[Result], **key: Any) -> Dict[float, float]:
    """Return the AP by rate of the arms of seed 0 that have not diverged."""
    arms = select(results, variant="default", seed=0, **key)
    return {float(a["lr"]): float(a["ap"]) for a in arms if not a["diverged"]}


def _width(values: Mapping[float, float]) -> str:
    """Return how wide the range of good rates is, if more than one is known."""
    good = summary.good_rates(values)
    if len(values) == 1:
        return ""
    if len(good) < 2:
        return f"{good[0]:g} only" if good else "none"
    return f"{good[0]:g} to {good[-1]:g} (× {summary.stable_factor(good):g})"


def variances(results: Sequence[Result]) -> str:
    """Return variances and multipliers by module at each batch, at AGVM's best rate."""
    rows = [["", "batch", "rate", "Φ in the middle third", "mean multipliers"]]
    for optimizer in summary.optimizers(results):
        for batch in summary.batches(results, optimizer):
            arm = summary.agvm_arm(results, optimizer, batch)
            if arm is not None:
                rows.append(
                    [
                        optimizer_name(optimizer),
                        str(batch),
                        f"{arm['lr']:g}",
                        _by_module(summary.middle_variances(arm)),
                        _by_module(arm["mean_multipliers"]),
                    ]
                )
    return markdown_table(rows, range(5)) if len(rows) > 1 else NOTHING


def _by_module(values: Mapping[str, float]) -> str:
    return ", ".join(f"{module_name(n)} {value:.2f}" for n, value in values.items())


_ABLATIONS = {
    "fixed": "AGVM's own mean multipliers, fixed from the start",
    "heads-1.5": "heads at 1.5 times the rate",
    "mean-rate": "all modules at the mean multiplier",
    "anchor-neck": "AGVM, anchor neck",
    "anchor-rpn-head": "AGVM, anchor RPN",
    "anchor-bbox-head": "AGVM, anchor box head",
}
_SCHEDULES = {
    "measurements-20": "20 measurements",
    "measurements-50": "50 measurements",
    "measurements-100": "100 measurements",
    "measurements-400": "400 measurements",
    "published-interval": "interval 10, momentum 0.97, as published",
    "start-early": "start at half the time",
    "start-late": "start at twice the time",
    "bound-2": "ratio at most 2",
    "two-ranks": "two real processes",
}
_EDGES = {
    "edge-start-late": "AGVM, start at twice the time",
    "edge-anchor-rpn-head": "AGVM, anchor RPN, ratio 0.1 to 2",
    "edge-bound-2": "AGVM, ratio at most 2",
    "edge-clipped": "clipped to the end",
    "edge-warmup": "warm-up twice as long",
}
_EDGE_PAIRS = ("edge-clipped", "edge-warmup")
"""Those that plain training has too."""


def ablations(results: Sequence[Result]) -> str:
    """Return the table that tells AGVM from other factors of the rates."""
    return _variants(results, _ABLATIONS, same_rate_only=False)


def schedules(results: Sequence[Result]) -> str:
    """Return the table of AGVM's other schedules."""
    return _variants(results, _SCHEDULES, same_rate_only=True)


def edges(results: Sequence[Result]) -> str:
    """Return the table of the rate at which plain training learns and AGVM does not."""
    rows = [["", "at the lowest rate where only AGVM diverges", "rate", "AP"]]
    for optimizer in summary.optimizers(results):
        key = dict(optimizer=optimizer, batch=256, model="faster-rcnn")
        # The seeds have a table of their own.
        found = [a for v in _EDGES for a in select(results, variant=v, seed=0, **key)]
        if not found:
            continue
        rate = found[0]["lr"]
        usual = select(results, variant="default", seed=0, lr=rate, **key)
        for arm in [*sorted(usual, key=lambda arm: arm["agvm"]), *found]:
            name = _EDGES.get(arm["variant"], "AGVM" if arm["agvm"] else "plain")
            if arm["variant"] in _EDGE_PAIRS:
                name = f"{'AGVM' if arm['agvm'] else 'plain'}, {name}"
            ap = _box_ap(arm)
            if arm["diverged"]:
                ap += f" at update {arm['updates']} of {_all_updates(arm, usual)}"
            rows.append([optimizer_name(optimizer), name, f"{rate:g}", ap])
    if len(rows) > 1:
        return markdown_table(rows, range(2))
    sweeps = [Sweep(results, name, 256) for name in ("sgd", "adamw")]
    if all(sweep.best(False) is not None for sweep in sweeps) and not any(
        grid_edges(results, sweep, 1) for sweep in sweeps
    ):
        return "There is no such rate."
    return NOTHING


def _all_updates(arm: Result, others: Sequence[Result]) -> int:
    """Return the updates of a whole training, from one that did not diverge."""
    return max(int(other["updates"]) for other in [arm, *others])


def _variants(
    results: Sequence[Result], labels: Mapping[str, str], same_rate_only: bool
) -> str:
    rows = [["", "variant at batch 256", "rate", "AP", "difference to AGVM"]]
    for optimizer in summary.optimizers(results):
        found = [
            arm
            for variant in labels
            for arm in select(
                results, variant=variant, optimizer=optimizer, batch=256, seed=0
            )
        ]
        if not found:
            continue
        own = summary.best_of(results, optimizer, 256, True)
        reference = None if own is None else own.aps[0]
        plain = summary.best_of(results, optimizer, 256, False)
        for name, best in (("plain, its best rate", plain), ("AGVM", own)):
            if best is not None and not (same_rate_only and best is plain):
                rows.append(
                    _variant_row(optimizer, name, best.rate, best.aps[0], reference)
                )
        for arm in found:
            ap = None if arm["diverged"] else arm["ap"]
            rows.append(
                _variant_row(
                    optimizer, labels[arm["variant"]], arm["lr"], ap, reference
                )
            )
    return markdown_table(rows, range(2)) if len(rows) > 1 else NOTHING


def _variant_row(
    optimizer: str,
    name: str,
    rate: float,
    ap: Optional[float],
    reference: Optional[float],
) -> List[str]:
    row = [optimizer_name(optimizer), name, f"{rate:g}"]
    if ap is None:
        return [*row, "diverged", ""]
    difference = "" if reference is None else _signed(ap - reference)
    return [*row, f"{ap:.1f}", difference]


def long_runs(results: Sequence[Result]) -> str:
    """Return the table of arms with more epochs, beside the usual ones and batch 16.

    From scratch, and with a pre-trained backbone.
    """
    rows = [["", "backbone", "batch", "updates", "", "rate", "AP"]]
    kinds = {
        "default": (("long", LONG_START_LATE, MEAN_RATE_LONG), "scratch"),
        "pretrained": ((PRETRAINED_LONG,), "trained"),
    }
    for optimizer in summary.optimizers(results):
        for variant, (names, backbone) in kinds.items():
            found = [
                arm
                for name in names
                for arm in select(results, variant=name, optimizer=optimizer)
            ]
            places = {(a["batch"], a["lr"], a["agvm"], a["variant"]) for a in found}
            for batch, rate, kind, name in sorted(places):
                arms = select(found, batch=batch, lr=rate, agvm=kind, variant=name)
                row = _run_row(arms[0])
                row[3] += ", start at twice the time" * (name == LONG_START_LATE)
                rows.append([row[0], backbone, *row[1:-1], _mean_ap(arms)])
            batches = sorted({16, 256, *(a["batch"] for a in found)}, reverse=True)
            for kind in (False, True) if found else ():
                for batch in batches:
                    best = summary.best_of(results, optimizer, batch, kind, variant)
                    if best is not None:
                        rows.append(
                            [
                                optimizer_name(optimizer),
                                backbone,
                                str(batch),
                                str(best.updates),
                                "AGVM" if kind else "plain",
                                f"{best.rate:g}",
                                f"{best.mean:.1f}",
                            ]
                        )
    return markdown_table(rows, range(2)) if len(rows) > 1 else NOTHING


def averaged(results: Sequence[Result]) -> str:
    """Return the table of the AP of averaged weights (EMA), beside that of the last."""
    rows = [["", "batch", "", "rate", "AP of the last weights", "of averaged weights"]]
    for arm in select(results, variant="ema", seed=0):
        same = {k: arm[k] for k in ("optimizer", "batch", "agvm", "lr", "model")}
        usual = select(results, variant="default", seed=0, **same)
        row = _run_row(arm)
        last = _box_ap(usual[0]) if usual else ""
        rows.append([row[0], row[1], row[3], row[4], last, row[5]])
    return markdown_table(rows, (0, 2)) if len(rows) > 1 else NOTHING


def _run_row(arm: Result) -> List[str]:
    return [
        optimizer_name(arm["optimizer"]),
        str(arm["batch"]),
        str(arm["updates"]),
        "AGVM" if arm["agvm"] else "plain",
        f"{arm['lr']:g}",
        _box_ap(arm),
    ]


def multi_scale(results: Sequence[Result]) -> str:
    """Return the table of the multi-scale sampler and AGVM at batch 256."""
    rows = [["", "sampler", "", "updates", "processor seconds", "AP"]]
    for optimizer in summary.optimizers(results):
        found = select(results, variant="vbs-cur", optimizer=optimizer)
        fixed: Dict[str, Result] = {}
        for arm in found:
            same = {key: arm[key] for key in ("model", "optimizer", "batch", "agvm")}
            same.update(lr=arm["lr"], seed=0, variant="default")
            for other in select(results, **same):
                fixed.setdefault(other["name"], other)
        for arm in [*fixed.values(), *found]:
            rows.append(
                [
                    optimizer_name(optimizer),
                    "fixed size" if arm["variant"] == "default" else "multi-scale",
                    "AGVM" if arm["agvm"] else "plain",
                    str(arm["updates"]),
                    f"{arm['cpu_seconds']:.0f}",
                    _box_ap(arm),
                ]
            )
    return markdown_table(rows, range(3)) if len(rows) > 1 else NOTHING


def other_models(results: Sequence[Result]) -> str:
    """Return the table of pairs of the other models."""
    rows = [["model", "optimizer", "batch", "rate", "plain AP", "AGVM AP"]]
    rows[0] += ["Φ in the middle third"]
    for model in sorted({arm["model"] for arm in results} - {"faster-rcnn"}):
        for plain, agvm in summary.pairs(results, model=model, variant="default"):
            one = plain or agvm
            assert one is not None
            rows.append(
                [
                    model,
                    optimizer_name(one["optimizer"]),
                    str(one["batch"]),
                    f"{one['lr']:g}",
                    _ap(plain),
                    _ap(agvm),
                    _by_module(summary.middle_variances(agvm)) if agvm else "",
                ]
            )
    if len(rows) == 1:
        return NOTHING
    return markdown_table(rows, range(2)) + (
        "\n\nBox AP; Mask R-CNN: box AP / mask AP; panoptic FPN: panoptic quality."
    )


def _ap(arm: Optional[Result]) -> str:
    if arm is None:
        return ""
    if arm["diverged"]:
        return "diverged"
    mask = f" / {arm['mask_ap']:.1f}" if "mask_ap" in arm else ""
    return f"{arm['ap']:.1f}{mask}"


def status(results: Sequence[Result], seeds: int) -> str:
    """Return what has been trained and what has not."""
    names = summary.missing(results, seeds)
    hours = sum(arm["cpu_seconds"] for arm in results) / 3600
    number = "1 arm has" if len(results) == 1 else f"{len(results)} arms have"
    text = f"{number} been trained, in {hours:.1f} hours of a core."
    if names:
        text += (
            f" Of those that follow from the results, {len(names)} are not trained yet "
            "(`--list` names them)."
        )
    return text


def _signed(value: float) -> str:
    # No −0.0.
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")
