"""The message of an error, without a data loader worker's traceback."""

from __future__ import annotations

import os.path as osp
import re
import traceback
from typing import List, Tuple

__all__ = ["first_line", "message_lines", "on_one_line", "place_of"]

# Their messages name neither what failed nor where. (UnboundLocalError is a NameError.)
_SLIPS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    TypeError,
)
# What is raised there names what it is about.
_OWN_MESSAGES = (
    osp.dirname(osp.dirname(osp.abspath(__file__))) + osp.sep,
    osp.join("mmengine", "registry", ""),
)


def message_lines(message: str) -> List[str]:
    """Return the lines of an error's message that are not empty.

    If the message is the traceback of a data loader's worker, only its last line.

    Args:
        message: The text of the error.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if any(line.startswith("Original Traceback") for line in lines):
        return lines[-1:]
    return lines


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (message_lines(str(error)) or [type(error).__name__])[0]


def on_one_line(error: BaseException) -> str:
    """Return an error's message on one line, or its type if it has none."""
    words = " ".join(message_lines(str(error))).split()
    return " ".join(words) or type(error).__name__


def place_of(error: BaseException) -> str:
    """Return the line of code that an error such as a KeyError comes from.

    Args:
        error: An error that was raised, here or in a data loader's worker.

    Returns:
        ``'file.py:12, in name'``; empty for errors whose messages tell what is wrong:
        of other types, and those of this package and of MMEngine's registries.
    """
    if not isinstance(error, _SLIPS):
        return ""
    frames: List[Tuple[str, object, str]] = [
        (frame.filename, frame.lineno, frame.name)
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    # A worker's own traceback is in the message.
    frames += re.findall(r'File "([^"]+)", line (\d+), in (\S+)', str(error))
    if not frames or any(part in frames[-1][0] for part in _OWN_MESSAGES):
        return ""
    file, line, name = frames[-1]
    return f"{file}:{line}, in {name}"
