"""The command line of a benchmark that trains arms."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Optional, Sequence

__all__ = ["arm_parser", "parse_arm_arguments"]

ROOT = Path(__file__).resolve().parents[3]


def arm_parser(description: Optional[str], name: str) -> argparse.ArgumentParser:
    """Return a parser with the arguments that all such benchmarks take.

    Args:
        description: Text above the arguments.
        name: Name of the benchmark, which its files and folders have too.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="*", help="pattern of the arms' names")
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings of an arm, one a seed"
    )
    parser.add_argument(
        "--results", type=Path, default=ROOT / "docs" / "results" / name, metavar="DIR"
    )
    parser.add_argument(
        "--work-dir",
        type=Path,
        default=Path("work_dirs") / name,
        help="checkpoints, locks and drawn scenes",
    )
    parser.add_argument(
        "--page",
        type=Path,
        default=ROOT / "docs" / f"{name}.md",
        help="page that --report writes; its figures go beside it",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list", action="store_true", help="list the arms and stop")
    what.add_argument("--report", action="store_true", help="write the page and stop")
    what.add_argument(
        "--smoke", action="store_true", help="a few arms of a few images each"
    )
    return parser


def parse_arm_arguments(
    parser: argparse.ArgumentParser, arguments: Optional[Sequence[str]] = None
) -> argparse.Namespace:
    """Read the command line, and refuse a number of seeds below one."""
    args = parser.parse_args(arguments)
    if args.seeds < 1:
        parser.error(f"--seeds must be at least 1, but got {args.seeds}")
    return args
