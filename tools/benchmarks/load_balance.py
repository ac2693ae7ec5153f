"""Images and pixels of each rank over an epoch, for 1 to 4,096 simulated ranks.

No process is started: the plans of all ranks are asked one after the other. Without
groups a plan depends only on a rank's number of images: one is asked for each number.

    python tools/benchmarks/load_balance.py --num-samples 1281167 --batch-size 32
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any, Dict, List, Tuple

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from mms_plugin.cli import ArgumentParser, UserError, json_on_stdout, run_command
from mms_plugin.multi_scale import (
    KeyedPermutationSampler,
    MultiScaleDataset,
    MultiScaleVariableBatchSampler,
)
from mms_plugin.utils.tables import markdown_table
from tools.benchmarks.load_balance_model import load_balance
from tools.smoke import smoke_arguments


class _Sizes(MultiScaleDataset):
    """Images of which only the sizes are known, a part of them landscape."""

    def __init__(self, num: int, landscape: float) -> None:
        wide = np.random.default_rng(0).random(num) < landscape
        self._sizes = np.where(wide[:, None], [[3, 4]], [[4, 3]])

    def __len__(self) -> int:
        return len(self._sizes)

    def image_sizes(self) -> np.ndarray:
        return self._sizes


def all_ranks(
    dataset: Any, world_size: int, round_up: bool, **kwargs: Any
) -> Tuple[np.ndarray, np.ndarray]:
    """Return ``pixels`` and ``batch_sizes`` of the first epoch on every rank.

    Shapes ``(iterations,)`` and ``(world_size, iterations)``.
    """
    pixels = np.zeros(0, dtype=np.int64)
    rows: List[np.ndarray] = []
    known: Dict[int, np.ndarray] = {}
    for rank in range(world_size):
        inner = KeyedPermutationSampler(
            dataset, seed=0, round_up=round_up, rank=rank, world_size=world_size
        )
        shapes = known.get(len(inner))
        if shapes is None or kwargs.get("group_by_aspect_ratio"):
            plan = MultiScaleVariableBatchSampler(inner, **kwargs).plan(0)
            shapes = np.asarray(plan, dtype=np.int64).reshape(-1, 3)
            known[len(inner)] = shapes
        of_rank = shapes[:, 0] * shapes[:, 1]
        if rows and not np.array_equal(of_rank, pixels):
            raise RuntimeError(f"rank {rank} has other sizes than rank 0")
        pixels = of_rank
        rows.append(shapes[:, 2])
    return pixels, np.stack(rows)


def simulate(args: Any) -> List[Dict[str, Any]]:
    """One row for every number of ranks and every setting."""
    dataset = _Sizes(args.num_samples, args.landscape)
    rows: List[Dict[str, Any]] = []
    for grouped, drop_last, round_up, ranks in product(
        (False,) if args.no_groups else (False, True),
        (False, True),
        (True, False),
        args.ranks,
    ):
        row: Dict[str, Any] = dict(
            ranks=ranks, round_up=round_up, drop_last=drop_last, grouped=grouped
        )
        try:
            pixels, batch_sizes = all_ranks(
                dataset,
                ranks,
                round_up,
                batch_size=args.batch_size,
                base_size=args.base_size,
                sizes=dict(zip(("min", "max", "num"), args.sizes)),
                group_by_aspect_ratio=grouped,
                drop_last=drop_last,
            )
            row.update(load_balance(pixels, batch_sizes)._asdict())
        except ValueError as error:
            row["refused"] = str(error)
        rows.append(row)
    return rows


def table(rows: List[Dict[str, Any]]) -> str:
    """Return the rows in markdown."""
    settings = ["grouped", "drop_last", "round_up"]
    columns = ["ranks", "iterations", "images of a rank", "pixels, least over most"]
    cells = [[*settings, *columns, "uneven iterations", "waiting"]]
    for row in rows:
        cells.append(["yes" if row[key] else "no" for key in settings])
        cells[-1].append(f"{row['ranks']:,}")
        if "refused" in row:
            cells[-1] += ["refused", "", "", "", ""]
            continue
        images = f"{row['fewest_images']:,}"
        if row["most_images"] > row["fewest_images"]:
            images += f" to {row['most_images']:,}"
        cells[-1] += [f"{row['iterations']:,}", images, f"{row['pixels_ratio']:.5f}"]
        cells[-1] += [f"{row['uneven_iterations']}", f"{100 * row['waiting']:.3f} %"]
    return markdown_table(cells, text_columns=(0, 1, 2))


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``."""
    return ["--num-samples", "2000", "--ranks", "1", "8"]


def main(argv: List[str]) -> None:
    """Run the command."""
    parser = ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--num-samples", type=int, default=1_281_167)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 8, 64, 512, 4096])
    parser.add_argument("--batch-size", type=int, default=32, help="at the base size")
    parser.add_argument("--base-size", type=int, default=224)
    parser.add_argument(
        "--sizes", type=int, nargs=3, default=(128, 320, 7), help="min, max, number"
    )
    parser.add_argument(
        "--landscape", type=float, default=0.7, help="part of the images"
    )
    parser.add_argument(
        "--no-groups", action="store_true", help="leave out group_by_aspect_ratio"
    )
    parser.add_argument("--json", action="store_true", help="print only JSON")
    args = parser.parse_args(smoke_arguments(parser, argv, smoke))
    if min(args.num_samples, args.batch_size, args.base_size, *args.ranks) < 1:
        raise UserError(
            "--num-samples, --ranks, --batch-size and --base-size must be at least 1"
        )
    if not 0 <= args.landscape <= 1:
        raise UserError(f"--landscape must be from 0 to 1, but got {args.landscape}")
    with json_on_stdout(args.json) as emit:
        rows = simulate(args)
        emit(dict(settings=vars(args), rows=rows))
    if not args.json:
        print(table(rows))


if __name__ == "__main__":
    run_command(main)
