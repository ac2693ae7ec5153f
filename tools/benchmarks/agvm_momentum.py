"""How close AGVM's multipliers come to their targets: measurements and momentum.

Arithmetic, no training. A multiplier starts at 1 and is averaged over targets that
scatter from one measurement to the next. After n measurements it has moved
``1 - momentum ** n`` of the way; the scatter of the targets leaves it a scatter of its
own. Target and scatter are taken from an arm of ``large_batch.py``.

    python tools/benchmarks/agvm_momentum.py --arm docs/results/large_batch/ARM.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.agvm import AGVMConfig, target_multiplier
from mms_plugin.agvm.fit_measurements import fit_measurements
from mms_plugin.agvm.measurements import moved_share
from mms_plugin.utils.tables import markdown_table
from tools.smoke import smoke_arguments

MOMENTA = (0.9, 0.95, 0.97, 0.99)
MEASUREMENTS = (20, 50, 100, 400)


def expected_error(
    momentum: float, measurements: int, target: float, scatter: float
) -> float:
    """Return the root mean square distance of a multiplier from its mean target.

    Args:
        momentum: Weight of the old multiplier in the moving average, in [0, 1).
        measurements: Measurements since the multiplier was 1.
        target: Mean of the targets, which does not change.
        scatter: Standard deviation of a single target; they are independent.
    """
    left = 1.0 - moved_share(momentum, measurements)
    variance = (1.0 - momentum) / (1.0 + momentum) * (1.0 - left**2)
    return math.hypot((target - 1.0) * left, scatter * math.sqrt(variance))


def measured_targets(arm: Mapping[str, Any]) -> Dict[str, Tuple[float, float]]:
    """Return mean and scatter of the targets in the middle third of a training.

    The scatter is that of a single measurement. It is estimated from the differences
    of consecutive points, so that a drift over the training does not count; a point
    of a result is the mean of several measurements.

    Args:
        arm: Result of an arm with AGVM.

    Returns:
        dict: Mean and standard deviation by module, without the anchor.
    """
    if not arm["agvm"]:
        raise ValueError(f"{arm['name']} trained without AGVM")
    config = AGVMConfig.build(arm["agvm_args"])
    points = [
        point["phi"]
        for point in arm["measured"]
        if arm["updates"] / 3 <= point["update"] <= arm["updates"] * 2 / 3
    ]
    if len(points) < 2:
        raise ValueError(f"{arm['name']} measured too little in its middle third")
    first, last = (arm["measured"][index]["update"] for index in (0, -1))
    per_point = (last - first) / config.interval / (len(arm["measured"]) - 1)
    found = {}
    for name in points[0]:
        if name == config.anchor:
            continue
        targets = [
            target_multiplier(p[config.anchor], p[name], config.ratio_range)
            for p in points
        ]
        squares = [(b - a) ** 2 / 2 for a, b in zip(targets, targets[1:])]
        variance = sum(squares) / len(squares) * max(1.0, per_point)
        found[name] = (sum(targets) / len(targets), math.sqrt(variance))
    return found


def table(rows: Sequence[int], target: Optional[Tuple[float, float]] = None) -> str:
    """Return shares moved, or expected errors if there is a target, as a table.

    Args:
        rows: Numbers of measurements.
        target: Mean and scatter of the targets. Defaults to None.
    """
    heading = ["measurements", *(f"momentum {value:g}" for value in MOMENTA), "fitted"]
    cells: List[List[str]] = [heading]
    for number in rows:
        fitted = fit_measurements(number, start=0, interval=1).momentum
        row = [str(number)]
        for momentum in (*MOMENTA, fitted):
            if target is None:
                cell = f"{100 * moved_share(momentum, number):.0f} %"
            else:
                cell = f"{expected_error(momentum, number, *target):.2f}"
            row.append(cell)
        row[-1] += f" ({fitted:g})"
        cells.append(row)
    return markdown_table(cells)


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``; write their arm."""
    measured = [
        dict(update=update, phi=dict(backbone=0.5, neck=0.1 + 0.1 * (update % 2)))
        for update in range(10, 31)
    ]
    arm = dict(
        name="made",
        updates=30,
        agvm=True,
        agvm_args=dict(interval=1),
        measured=measured,
    )
    path = folder / "arm.json"
    path.write_text(json.dumps(arm))
    return ["--arm", str(path)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--arm", type=Path, required=True, help="result of an arm with AGVM"
    )
    parser.add_argument(
        "--measurements", type=int, nargs="+", default=MEASUREMENTS, metavar="N"
    )
    args = parser.parse_args(smoke_arguments(parser, None, smoke))
    if min(args.measurements) < 1:
        parser.error(f"--measurements must be at least 1, but got {args.measurements}")
    try:
        targets = measured_targets(json.loads(args.arm.read_text()))
    except KeyError as error:
        parser.error(f"--arm {args.arm} is not the result of an arm: it lacks {error}")
    except (OSError, ValueError) as error:
        parser.error(f"--arm {args.arm}: {error}")
    print("Share of the way from 1 to the target:\n")
    print(table(args.measurements))
    for name, target in targets.items():
        print(
            f"\n{name}, target {target[0]:.2f} with a scatter of {target[1]:.2f}: "
            "expected error of the multiplier\n"
        )
        print(table(args.measurements, target))


if __name__ == "__main__":
    main()
