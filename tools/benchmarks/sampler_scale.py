"""Time and memory of planning, from a million to a billion samples.

One rank of 1 to 4,096 is simulated, with a dataset of which only the length is there.
Each row is timed, CPU time of its one thread, so that a busy machine does not show; and
then run again under tracemalloc for its peak of memory.

    python tools/benchmarks/sampler_scale.py
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from itertools import product
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.cli import ArgumentParser, UserError, json_on_stdout, run_command
from mms_plugin.multi_scale import (
    KeyedPermutationSampler,
    MultiScaleVariableBatchSampler,
    ResolutionCurriculum,
)
from mms_plugin.utils.tables import markdown_table
from tools.smoke import smoke_arguments

CURRICULA = ("none", "by epoch", "within the epoch")


class Length:
    """A dataset of which only the length is known."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length


def make(
    num_samples: int, ranks: int, curriculum: str, epochs: int, batch_size: int = 32
) -> MultiScaleVariableBatchSampler:
    """Return the batch sampler of one rank: number 17, or the last."""
    inner = KeyedPermutationSampler(
        Length(num_samples), seed=0, rank=min(17, ranks - 1), world_size=ranks
    )
    sampler = MultiScaleVariableBatchSampler(
        inner, batch_size, 224, dict(min=128, max=320, num=7)
    )
    if curriculum != CURRICULA[0]:
        by_epoch = curriculum == CURRICULA[1]
        sampler.set_curriculum(
            ResolutionCurriculum(by_epoch=by_epoch), max_epochs=epochs
        )
    return sampler


def first_batch(sampler: MultiScaleVariableBatchSampler, epoch: int) -> None:
    """Draw the first batch of an epoch."""
    sampler.set_epoch(epoch)
    next(iter(sampler))


def measure(num_samples: int, ranks: int, curriculum: str, args: Any) -> Dict[str, Any]:
    """Seconds of each step, by a new sampler, and the peak of memory of all."""
    seconds: Dict[str, float] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = step()
        seconds[name] = time.process_time() - start
        return result

    def run() -> int:
        middle = args.epochs // 2
        sampler = timed(
            "make",
            lambda: make(num_samples, ranks, curriculum, args.epochs, args.batch_size),
        )
        length: int = timed("len", lambda: len(sampler))
        timed("plan", lambda: sampler.batch_at(middle, 0))
        timed("first_batch", lambda: first_batch(sampler, middle))
        if length <= args.most_iterations or curriculum != CURRICULA[2]:
            timed("total_batches", lambda: sampler.total_batches(args.epochs))
        return length

    length = run()
    kept = dict(seconds)
    tracemalloc.start()
    try:
        run()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return dict(
        num_samples=num_samples,
        ranks=ranks,
        curriculum=curriculum,
        iterations=length,
        seconds=kept,
        peak_mib=peak / 2**20,
    )


def _milliseconds(seconds: Optional[float]) -> str:
    return "" if seconds is None else f"{1e3 * seconds:,.1f}"


def table(rows: List[Dict[str, Any]], epochs: int) -> str:
    """Return the rows in markdown."""
    times = ["plan, ms", "first batch, ms", f"total of {epochs} epochs, ms"]
    cells = [["samples", "ranks", "curriculum", "iterations", *times, "peak, MiB"]]
    for row in rows:
        seconds = row["seconds"]
        cells.append(
            [
                f"{row['num_samples']:,}",
                f"{row['ranks']:,}",
                f"{row['curriculum']}",
                f"{row['iterations']:,}",
                _milliseconds(seconds["plan"]),
                _milliseconds(seconds["first_batch"]),
                _milliseconds(seconds.get("total_batches")),
                f"{row['peak_mib']:.1f}",
            ]
        )
    return markdown_table(cells, text_columns=(2,))


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``."""
    return ["--num-samples", "1e4", "--ranks", "4", "--epochs", "3"]


def main(argv: List[str]) -> None:
    """Run the command."""
    parser = ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--num-samples", type=float, nargs="+", default=[1e6, 1e7, 1e8, 1e9]
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 64, 4096])
    parser.add_argument("--batch-size", type=int, default=32, help="at the base size")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument(
        "--most-iterations",
        type=int,
        default=20_000,
        help="longest epoch whose total is asked with a curriculum within the epoch, "
        "which plans every epoch",
    )
    parser.add_argument("--json", action="store_true", help="print only JSON")
    args = parser.parse_args(smoke_arguments(parser, argv, smoke))
    if min(*args.num_samples, *args.ranks, args.batch_size, args.epochs) < 1:
        raise UserError(
            "--num-samples, --ranks, --batch-size and --epochs must be at least 1"
        )
    with json_on_stdout(args.json) as emit:
        rows = [
            measure(int(num_samples), ranks, curriculum, args)
            for num_samples, ranks, curriculum in product(
                args.num_samples, args.ranks, CURRICULA
            )
        ]
        emit(dict(settings=vars(args), rows=rows))
    if not args.json:
        print(table(rows, args.epochs))


if __name__ == "__main__":
    run_command(main)
