"""Can AGVM tell from the variances when to start? The first updates, measured only.

The Faster R-CNN of ``large_batch.py`` at batch 256 trains the first epochs of its usual
schedule as without AGVM, and every update is measured. While a head only sees
background, all images ask for the same step: its variance is near 0, and the ratio of
the anchor's variance to its own lies above AGVM's bounds. The table has the loss and
these ratios, which are marked where they lie outside the bounds.

    python tools/benchmarks/agvm_start.py
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from pathlib import Path
from typing import Any, List

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.agvm import AGVMConfig
from mms_plugin.agvm.variance import EPS
from mms_plugin.utils.tables import markdown_table
from tools.smoke import smoke_arguments

ACCUMULATED = 8
"""Micro-batches of an update: batch 256."""

RATES = {"sgd": 0.08, "adamw": 3.2e-3}
ANCHOR, BOUNDS = AGVMConfig.anchor, AGVMConfig.ratio_range


def train(
    optimizer: str, epochs: int, parts: int, protocol: Any, work_dir: Path
) -> Any:
    """Train the first epochs of an arm and measure every update.

    Args:
        optimizer: Name of the optimizer, as in ``large_batch.py``.
        epochs: Epochs to train, of those of the protocol.
        parts: Equal parts of these epochs, a point of the outcome each.
        protocol: Data and schedule of ``large_batch.py``.
        work_dir: Where scenes and checkpoints lie. A training that was cut off
            continues from there.

    Returns:
        Outcome: See ``lab.training``.
    """
    from agvm_lab import grid
    from lab import training
    from large_batch import Trainer

    batch = ACCUMULATED * protocol.micro_batch
    arm = grid.make_arm(
        optimizer, batch, True, RATES[optimizer], variant="measured-only"
    )
    config = Trainer(protocol, work_dir).config(arm)
    config["optim_wrapper"]["agvm"].update(start_iter=0, interval=1, modulate=False)
    config["train_cfg"].update(max_epochs=epochs)
    # pycocotools prints its tables.
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return training.train(config, work_dir / arm["name"], points=parts)


def ratio_table(outcome: Any) -> str:
    """Return the table of a training's losses and ratios, a row for each point.

    Args:
        outcome: Result of :func:`train`.
    """
    from agvm_lab.tables import module_name

    names = [name for name in outcome.agvm[0]["phi"] if name != ANCHOR]
    rows = [["updates", "loss", *map(module_name, names)]]
    begin = 1
    for point, loss in zip(outcome.agvm, outcome.loss):
        ratios = [point["phi"][ANCHOR] / max(point["phi"][n], EPS) for n in names]
        updates = f"{begin} to {point['update']}"
        rows.append([updates, f"{loss:.2f}", *map(_cell, ratios)])
        begin = point["update"] + 1
    return markdown_table(rows)


def _cell(ratio: float) -> str:
    text = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"
    return text if BOUNDS[0] <= ratio <= BOUNDS[1] else f"{text} !"


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``."""
    return f"--epochs 1 --parts 2 --work-dir {folder} --tiny".split()


def main() -> None:
    """Train with each optimizer and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--optimizers", nargs="+", choices=RATES, default=list(RATES))
    parser.add_argument("--epochs", type=int, default=4, help="of 15; 32 updates each")
    parser.add_argument("--parts", type=int, default=16, help="rows of the table")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/agvm_start"))
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(smoke_arguments(parser, None, smoke))
    if min(args.epochs, args.parts) < 1:
        parser.error("--epochs and --parts must be at least 1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from agvm_lab.protocol import SMOKE, Protocol

    protocol = SMOKE if args.tiny else Protocol()
    for optimizer in args.optimizers:
        outcome = train(optimizer, args.epochs, args.parts, protocol, args.work_dir)
        print(f"\n{optimizer}, rate {RATES[optimizer]:g}:\n\n{ratio_table(outcome)}")


if __name__ == "__main__":
    main()
