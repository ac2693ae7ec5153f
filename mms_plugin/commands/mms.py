"""The ``mms`` command, also ``python -m mms_plugin``: runs one of the commands."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import NoReturn, Optional, Sequence

from .. import cli
from ..version import __version__

# By name: the module of this package, and what it does.
COMMANDS = {
    "train": ("train", "train a model from a config"),
    "test": ("test", "evaluate checkpoints, over sizes and under corruptions"),
    "cost": ("training_cost", "predict what a training will cost"),
    "calibrate": ("calibrate_batch_sizes", "measure batch sizes for this device"),
    "browse": ("browse_batches", "draw the batches that the network will get"),
    "plot": ("plot_training", "draw what trainings did, from their work dirs"),
    "reliability": ("reliability", "draw the reliability diagram of a classifier"),
}


def main(argv: Optional[Sequence[str]] = None) -> NoReturn:
    """Run the command that the first argument names, with the remaining ones.

    Args:
        argv: The arguments. Defaults to those of the process.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    listed = [f"  {name:12}{text}" for name, (_, text) in COMMANDS.items()]
    parser = cli.ArgumentParser(
        prog="mms",
        usage="mms COMMAND ...",
        description="Train with mms_plugin, and look at trainings before and after.",
        epilog="commands (mms COMMAND --help lists the arguments of each):\n"
        + "\n".join(listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS)
    parser.add_argument("--version", action="version", version=__version__)
    name = parser.parse_args(given[:1]).command
    # Usage, errors and warnings name the command as the user typed it.
    sys.argv = [f"mms {name}", *given[1:]]
    module = importlib.import_module(f"{__package__}.{COMMANDS[name][0]}")
    cli.run_command(module.main)
