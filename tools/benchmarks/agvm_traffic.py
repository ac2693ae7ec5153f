"""AGVM's extra traffic from 8 to 4,096 GPUs, on paper.

python tools/benchmarks/agvm_traffic.py --gradient-bytes 166110848
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Dict, List

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.cli import ArgumentParser, UserError, json_on_stdout, run_command
from mms_plugin.utils.tables import markdown_table
from tools.benchmarks.agvm_traffic_model import Cluster, traffic
from tools.smoke import smoke_arguments


def table(rows: List[Dict[str, Any]]) -> str:
    """Return the rows in markdown."""
    sent = ["MB more, measured, first half", "MB more, mean", "over DDP's bytes"]
    ring = ["ring, ms", "ring, of an iteration"]
    cells = [["GPUs", *sent, *ring, "tree, ms", "tree, of an iteration"]]
    for row in rows:
        cells.append(
            [
                f"{row['gpus']:,}",
                f"{row['measured_bytes'] / 1e6:.1f}",
                f"{row['mean_bytes'] / 1e6:.2f}",
                f"{100 * row['bytes_ratio']:.2f} %",
                f"{1e3 * row['ring_seconds']:.1f}",
                f"{100 * row['ring_ratio']:.2f} %",
                f"{1e3 * row['tree_seconds']:.1f}",
                f"{100 * row['tree_ratio']:.2f} %",
            ]
        )
    return markdown_table(cells, text_columns=())


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``."""
    return ["--gpus", "8", "64"]


def main(argv: List[str]) -> None:
    """Run the command."""
    defaults = Cluster()
    parser = ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--gpus", type=int, nargs="+", default=[8, 16, 64, 128, 512, 1024, 4096]
    )
    parser.add_argument("--gradient-bytes", type=int, default=166_110_848)
    parser.add_argument("--modules", type=int, default=4, help="that AGVM measures")
    parser.add_argument("--interval", type=int, default=10)
    parser.add_argument(
        "--iteration-ms", type=float, default=270.0, help="of plain training"
    )
    parser.add_argument("--gpus-per-node", type=int, default=defaults.gpus_per_node)
    parser.add_argument(
        "--intra", type=float, default=150.0, help="GB/s between GPUs of a node"
    )
    parser.add_argument("--inter", type=float, default=25.0, help="GB/s between nodes")
    parser.add_argument("--latency-us", type=float, default=5.0, help="of one hop")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    args = parser.parse_args(smoke_arguments(parser, argv, smoke))
    for name, value in vars(args).items():
        values = value if isinstance(value, list) else [value]
        if any(not isinstance(v, bool) and not v > 0 for v in values):
            raise UserError(f"--{name.replace('_', '-')} must be above 0")
    cluster = Cluster(
        gpus_per_node=args.gpus_per_node,
        intra_bandwidth=1e9 * args.intra,
        inter_bandwidth=1e9 * args.inter,
        latency=1e-6 * args.latency_us,
    )
    with json_on_stdout(args.json) as emit:
        rows: List[Dict[str, Any]] = [
            dict(
                gpus=gpus,
                **traffic(
                    gpus,
                    args.gradient_bytes,
                    args.modules,
                    args.interval,
                    args.iteration_ms / 1e3,
                    cluster,
                ),
            )
            for gpus in args.gpus
        ]
        emit(dict(settings=vars(args), rows=rows))
    if not args.json:
        print(table(rows))


if __name__ == "__main__":
    run_command(main)
