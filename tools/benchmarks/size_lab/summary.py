"""What the arms of the multi-scale benchmark say: pure functions of their results."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from .arms import BASELINE, CURRICULUM, WIDE, WIDE_SQRT

Result = Mapping[str, Any]

LESS_COMPUTE = 0.7
"""The published claim for classification: more than 30 % less compute."""

CLAIMED = (CURRICULUM, WIDE, WIDE_SQRT)
"""The arms that the claims are read from."""


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds.

    Attributes:
        values: One value per seed.
    """

    values: Sequence[float]

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return statistics.mean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation of the sample; 0 for a single value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def text(self, digits: int = 1, sign: bool = False) -> str:
        """Return ``'25.4 ± 0.3'``, or the value only if there is one."""
        shown = f"{self.mean:{'+' if sign else ''}.{digits}f}"
        if len(self.values) < 2:
            return shown
        return f"{shown} ± {self.deviation:.{digits}f}"


def mean_over_sizes(result: Result) -> float:
    """Return the mean over the test sizes in percent."""
    return statistics.mean(result["by_size"].values())


def by_arm(results: Sequence[Result], task: str) -> Dict[str, List[Result]]:
    """Return the results of a task by arm, sorted by seed."""
    found: Dict[str, List[Result]] = {}
    for result in sorted(results, key=lambda r: r["seed"]):
        if result["task"] == task:
            found.setdefault(result["arm"], []).append(result)
    return found


def spread(
    results: Sequence[Result], value: Callable[[Result], Optional[float]]
) -> Optional[Spread]:
    """Return mean and deviation of a value; ``None`` if no result has it."""
    values = [value(result) for result in results]
    known = [v for v in values if v is not None]
    return Spread(known) if known else None


def paired(
    arm: Sequence[Result],
    other: Sequence[Result],
    value: Callable[[Result], Optional[float]],
    ratio: bool = False,
) -> Optional[Spread]:
    """Return the differences to another arm, seed by seed.

    Args:
        arm: Results of the arm.
        other: Results of the arm it is compared with.
        value: What is compared.
        ratio: Whether to divide instead. Defaults to False.

    Returns:
        Spread: Over the seeds that both have; ``None`` if there is none.
    """
    base = {result["seed"]: value(result) for result in other}
    differences = []
    for result in arm:
        mine, theirs = value(result), base.get(result["seed"])
        if mine is None or theirs is None:
            continue
        differences.append(mine / theirs if ratio else mine - theirs)
    return Spread(differences) if differences else None


def answer(differences: Optional[Spread], seeds: int, at_least: float = 0.0) -> str:
    """Answer a claim: ``'yes'`` or ``'no'`` by the mean, or ``'1 seed'``.

    Args:
        differences: Gains over the baseline, seed by seed.
        seeds: Seeds that an answer takes.
        at_least: Gain that the claim asks for. Defaults to 0.

    Returns:
        str: ``'within the spread'`` is added where the mean is nearer to the limit
        than the standard deviation over the seeds. With fewer seeds, their number.
    """
    number = 0 if differences is None else len(differences.values)
    if differences is None or number < seeds:
        return f"{number or 'no'} seed{'s' * (number != 1)}"
    gain = differences.mean - at_least
    word = "yes" if gain >= 0 else "no"
    if abs(gain) < differences.deviation:
        return f"{word}, within the spread"
    return word


def flops(result: Result) -> float:
    """Return the training FLOPs."""
    return float(result["train_flops"])


def cpu_seconds(result: Result) -> Optional[float]:
    """Return the processor time of the training; ``None`` on a GPU."""
    on_cpu = result.get("device", "cpu") == "cpu"
    return float(result["train_cpu_seconds"]) if on_cpu else None


def negative(key: str) -> Callable[[Result], Optional[float]]:
    """Return the value of a field with its sign turned: less is better."""
    return lambda result: None if result.get(key) is None else -result[key]


def claims(
    results: Sequence[Result],
    task: str,
    seeds: int,
    baseline: str = BASELINE,
    claimed: Sequence[str] = CLAIMED,
) -> List[List[str]]:
    """Return the paper's four claims for a task, a row each, below a header.

    The arms are held against the baseline with the same seeds. Arms without any
    training are left out.
    """
    arms = by_arm(results, task)
    claimed = [arm for arm in claimed if arm in arms]
    rows = [["claim", "measured as", *claimed]]

    def row(
        claim: str,
        measured: str,
        value: Callable[[Result], Optional[float]],
        digits: int = 1,
        ratio: bool = False,
    ) -> List[str]:
        cells = []
        for arm in claimed:
            found = paired(arms.get(arm, []), arms.get(baseline, []), value, ratio)
            if found is None:
                cells.append(answer(None, seeds))
                continue
            gains, limit = found, 0.0
            if ratio:
                gains = Spread([-v for v in found.values])
                limit = -LESS_COMPUTE
            word = answer(gains, seeds, limit)
            cells.append(f"{word} ({found.text(digits, sign=not ratio)})")
        return [claim, measured, *cells]

    rows.append(
        row(
            "less compute",
            f"FLOPs against {baseline}, at most {LESS_COMPUTE}",
            flops,
            digits=2,
            ratio=True,
        )
    )
    rows.append(row("accuracy kept", "points at the base size", lambda r: r["value"]))
    has_calibration = any(
        result.get("ece") is not None for result in arms.get(baseline, [])
    )
    if has_calibration:
        rows.append(row("better calibrated", "less ECE, points", negative("ece")))
        rows.append(row("", "less NLL, nats", negative("nll"), digits=3))
    rows.append(row("more robust", "points, mean over test sizes", mean_over_sizes))
    rows.append(row("", "points under corruptions", lambda r: r.get("corrupted")))
    return rows


def arm_table(
    results: Sequence[Result],
    task: str,
    names: Sequence[str],
    baseline: str = BASELINE,
) -> List[List[str]]:
    """Return a row per arm that has results, below a header.

    Ratios are against the baseline, seed by seed. Columns without a value are left
    out.
    """
    arms = by_arm(results, task)
    base = arms.get(baseline, [])
    rows = [
        [
            "arm",
            "seeds",
            "epochs",
            "iterations",
            "FLOPs",
            "CPU time",
            "at base size",
            "mean over sizes",
            "corrupted",
            "mask AP",
            "ECE",
            "NLL",
        ]
    ]

    def cell(found: Optional[Spread], digits: int = 1) -> str:
        return "–" if found is None else found.text(digits)

    def ratio(found: Optional[Spread]) -> str:
        return "–" if found is None else f"{found.mean:.2f}"

    for name in names:
        if name not in arms:
            continue
        own = arms[name]
        rows.append(
            [
                name,
                str(len(own)),
                str(own[0]["epochs"]),
                f"{statistics.mean(r['iterations'] for r in own):,.0f}",
                ratio(paired(own, base, flops, ratio=True)),
                ratio(paired(own, base, cpu_seconds, ratio=True)),
                cell(spread(own, lambda r: r["value"])),
                cell(spread(own, mean_over_sizes)),
                cell(spread(own, lambda r: r.get("corrupted"))),
                cell(spread(own, lambda r: r.get("mask_value"))),
                cell(spread(own, lambda r: r.get("ece"))),
                cell(spread(own, lambda r: r.get("nll")), 2),
            ]
        )
    used = [column for column in zip(*rows) if set(column[1:]) != {"–"}]
    return [list(row) for row in zip(*used)]


def worth_table(
    results: Sequence[Result], task: str, names: Sequence[str]
) -> List[List[str]]:
    """Return what each change to the curriculum is worth, seed by seed."""
    arms = by_arm(results, task)
    rows = [["arm", "against", "seeds", "FLOPs", "at base size", "mean over sizes"]]
    for name in names:
        parent = WIDE if name.startswith(WIDE) and name != WIDE else CURRICULUM
        own, base = arms.get(name, []), arms.get(parent, [])
        value = paired(own, base, lambda r: r["value"])
        if name == parent or value is None:
            continue
        cost = paired(own, base, flops, ratio=True)
        mean = paired(own, base, mean_over_sizes)
        assert cost is not None and mean is not None
        rows.append(
            [
                name,
                parent,
                str(len(value.values)),
                f"{cost.mean:.2f}",
                value.text(sign=True),
                mean.text(sign=True),
            ]
        )
    return rows


def size_table(
    results: Sequence[Result], task: str, names: Sequence[str]
) -> List[List[str]]:
    """Return the mean over seeds at each test size, a row per arm."""
    arms = by_arm(results, task)
    known = [name for name in names if name in arms]
    sizes = list(arms[known[0]][0]["by_size"]) if known else []
    rows = [["arm", *(f"{size} px" for size in sizes)]]
    for name in known:
        means = [
            statistics.mean(r["by_size"][size] for r in arms[name]) for size in sizes
        ]
        rows.append([name, *(f"{value:.1f}" for value in means)])
    return rows


def mean_curve(results: Sequence[Result]) -> List[List[float]]:
    """Return ``[FLOPs, percent]`` of the validations, means over the seeds."""
    curves = [result["curve"] for result in results if result["curve"]]
    length = min(map(len, curves), default=0)
    return [
        [statistics.mean(curve[point][column] for curve in curves) for column in (1, 2)]
        for point in range(length)
    ]


def pooled_bins(results: Sequence[Result]) -> List[List[float]]:
    """Return ``[mean confidence, accuracy]`` of each bin, all seeds together.

    Bins with fewer than 5 samples are left out.
    """
    pooled = []
    tables = [result["bins"] for result in results if result.get("bins")]
    for same in zip(*tables):
        filled = [item for item in same if item["count"]]
        count = sum(item["count"] for item in filled)
        if count < 5:
            continue
        pooled.append(
            [
                math.fsum(item[key] * item["count"] for item in filled) / count
                for key in ("confidence", "accuracy")
            ]
        )
    return pooled


def gain(
    results: Sequence[Result], task: str, arm: str, other: str
) -> Optional[Spread]:
    """Return what an arm has more at the base size than another one.

    Of a longer and a shorter baseline: near 0, the shorter one is level.
    """
    arms = by_arm(results, task)
    return paired(arms.get(arm, []), arms.get(other, []), lambda r: r["value"])
