"""How long a resumed training takes to find its place.

The batch sampler in a stream without an end, after so many iterations, on one rank of
so many; beside it, drawing the indices of every batch that was trained on, which is
the least of what MMEngine's loop does (it loads their images too).

    python tools/benchmarks/resume_time.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any, Dict

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmengine.dataset import InfiniteSampler

from mms_plugin.multi_scale import MultiScaleVariableBatchSampler
from mms_plugin.utils.tables import markdown_table
from tools.smoke import smoke_arguments


def batch_sampler(args: argparse.Namespace, world_size: int) -> Any:
    """Return that of one rank."""
    inner = InfiniteSampler(range(args.num_samples), shuffle=True, seed=0)
    inner.rank, inner.world_size = world_size // 2, world_size
    return MultiScaleVariableBatchSampler(
        inner, args.batch_size, base_size=224, sizes=[128, 160, 192, 224, 256, 288, 320]
    )


def measure(args: argparse.Namespace, world_size: int) -> Dict[str, Any]:
    """Seconds of processor time until the first batch after the resume."""
    start = time.process_time()
    resumed = batch_sampler(args, world_size)
    resumed.resume(args.iterations)
    first = next(iter(resumed))
    middle = time.process_time()
    drawn = batch_sampler(args, world_size)
    same = next(itertools.islice(drawn, args.iterations, None)) == first
    end = time.process_time()
    return dict(
        world_size=world_size,
        resume=middle - start,
        draw_all=end - middle,
        same_batch=same,
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=90_000)
    parser.add_argument("--batch-size", type=int, default=32, help="at the base size")
    parser.add_argument("--num-samples", type=int, default=1_000_000)
    parser.add_argument("--world-sizes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(
        smoke_arguments(
            parser,
            None,
            lambda _: [
                "--iterations",
                "300",
                "--num-samples",
                "1000",
                "--batch-size",
                "4",
                "--world-sizes",
                "1",
                "8",
            ],
        )
    )
    rows = [measure(args, world_size) for world_size in args.world_sizes]
    if args.json:
        print(json.dumps(rows, indent=2))
        return
    cells = [["ranks", "resumed, s", "all indices drawn, s", "the same batch"]]
    for row in rows:
        times = [f"{row[key]:.1f}" for key in ("resume", "draw_all")]
        same = "yes" if row["same_batch"] else "NO"
        cells.append([f"{row['world_size']}", *times, same])
    print(markdown_table(cells, text_columns=(3,)))


if __name__ == "__main__":
    main()
