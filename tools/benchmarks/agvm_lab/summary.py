"""What the results say, as numbers: pure functions of the arms."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from .grid import (
    START_RATES,
    Result,
    Sweep,
    best_rate,
    curve,
    plan,
    select,
    sweep_kinds,
)


@dataclass(frozen=True)
class Best:
    """The best rate of one kind of training at one batch.

    Args:
        rate: The learning rate with the highest AP of seed 0.
        aps: AP of each seed at this rate that has not diverged, in percent.
        diverged: Number of seeds that have.
        updates: Updates of the weights.
        complete: Whether the sweep is complete and the rate not at its end.
    """

    rate: float
    aps: Tuple[float, ...]
    diverged: int
    updates: int
    complete: bool

    @property
    def mean(self) -> float:
        """Mean AP over the seeds that have not diverged."""
        return statistics.mean(self.aps)


def best_of(
    results: Sequence[Result],
    optimizer: str,
    batch: int,
    agvm: bool,
    variant: str = "default",
    off_grid: Sequence[str] = (),
) -> Optional[Best]:
    """Return the best rate of Faster R-CNN so far; None if nothing has learned.

    Args:
        results: Results so far.
        optimizer: Name of the optimizer.
        batch: Images per update.
        agvm: Whether with AGVM.
        variant: Variant whose rates are on the grid. Defaults to ``'default'``.
        off_grid: Variants of the same training at other rates. Defaults to none.
    """
    key: Dict[str, Any] = dict(optimizer=optimizer, batch=batch, agvm=agvm)
    key.update(model="faster-rcnn")
    variants = (variant, *off_grid)
    values: Dict[float, float] = {}
    for name in variants:
        values.update(curve(results, variant=name, **key))
    rate = best_rate(values)
    if rate is None:
        return None
    arms = [a for v in variants for a in select(results, variant=v, lr=rate, **key)]
    complete = False
    if batch in START_RATES[optimizer] and agvm in sweep_kinds(optimizer, batch):
        sweep = Sweep(results, optimizer, batch, variant)
        complete = rate in sweep.rates[1:-1] and sweep.best(agvm) == rate
    return Best(
        rate=rate,
        aps=tuple(
            float(arm["ap"])
            for arm in sorted(arms, key=lambda a: a["seed"])
            if not arm["diverged"]
        ),
        diverged=sum(arm["diverged"] for arm in arms),
        updates=max(int(arm["updates"]) for arm in arms),
        complete=complete,
    )


def gap(plain: Best, agvm: Best) -> float:
    """Return the lowest AP with AGVM less the highest of plain training."""
    return min(agvm.aps) - max(plain.aps)


def good_rates(values: Mapping[float, float], share: float = 0.9) -> List[float]:
    """Return the rates whose AP is at least a share of the best one's."""
    top = max(values.values(), default=0.0)
    return sorted(r for r, ap in values.items() if top > 0 and ap >= share * top)


def stable_factor(rates: Sequence[float]) -> float:
    """Return the factor between the lowest and the highest rate; 0 without rates."""
    return rates[-1] / rates[0] if rates else 0.0


def middle_variances(arm: Result) -> Dict[str, float]:
    """Return the mean variance of each module over the middle third of a training.

    Empty if nothing was measured there.
    """
    updates = arm["updates"]
    parts = [
        part["phi"]
        for part in arm["measured"]
        if updates / 3 <= part["update"] <= updates * 2 / 3
    ]
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: statistics.mean(part[name] for part in parts if name in part)
        for name in names
    }


def batches(results: Sequence[Result], optimizer: str) -> List[int]:
    """Return the batches with results of Faster R-CNN, ascending."""
    found = select(results, optimizer=optimizer, model="faster-rcnn", variant="default")
    return sorted({int(arm["batch"]) for arm in found})


def optimizers(results: Sequence[Result]) -> List[str]:
    """Return the optimizers with results of Faster R-CNN, in the order of the page."""
    present = {arm["optimizer"] for arm in select(results, model="faster-rcnn")}
    return [name for name in ("sgd", "adamw", "lamb") if name in present]


def agvm_arm(results: Sequence[Result], optimizer: str, batch: int) -> Optional[Result]:
    """Return AGVM's arm at its best rate that has measured something."""
    found = [
        arm
        for arm in select(
            results,
            optimizer=optimizer,
            batch=batch,
            agvm=True,
            model="faster-rcnn",
            variant="default",
            seed=0,
        )
        if arm["measured"] and not arm["diverged"]
    ]
    return max(found, key=lambda arm: (arm["ap"], -arm["lr"])) if found else None


def pairs(
    results: Sequence[Result], **wanted: Any
) -> List[Tuple[Optional[Result], Optional[Result]]]:
    """Return plain and AGVM arms that are otherwise alike, sorted by their settings."""
    table: Dict[Tuple, Dict[bool, Result]] = {}
    for arm in select(results, **wanted):
        key = (arm["model"], arm["optimizer"], arm["batch"], arm["lr"], arm["seed"])
        table.setdefault(key, {})[arm["agvm"]] = arm
    return [(table[key].get(False), table[key].get(True)) for key in sorted(table)]


def missing(results: Sequence[Result], seeds: int) -> List[str]:
    """Return the names of the arms that follow from the results and lack one."""
    done = {arm["name"] for arm in results}
    return [arm["name"] for arm in plan(results, seeds) if arm["name"] not in done]
