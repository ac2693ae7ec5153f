"""``--smoke``: the same code of a command on made data, in seconds."""

from __future__ import annotations

import argparse
import atexit
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Callable, List, Optional, Sequence

__all__ = ["smoke_arguments"]


def smoke_arguments(
    parser: argparse.ArgumentParser,
    argv: Optional[Sequence[str]],
    small: Callable[[Path], Sequence[str]],
) -> List[str]:
    """Add ``--smoke`` to a parser and put its settings in front of the arguments.

    Args:
        parser: The command's parser.
        argv: Its arguments. None: those of the process.
        small: Returns the arguments that stand for ``--smoke``. It is called with an
            empty temporary folder for made data and results, which is removed when
            the process ends.

    Returns:
        list[str]: What to parse. Arguments given beside ``--smoke`` come last, so
        that they take precedence.
    """
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="run the same code on synthetic data in seconds; the figures mean nothing",
    )
    given = list(sys.argv[1:] if argv is None else argv)
    if "--smoke" not in given:
        return given
    folder = Path(tempfile.mkdtemp(prefix="smoke_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return [*small(folder), *given]
