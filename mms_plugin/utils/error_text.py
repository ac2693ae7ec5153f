"""The message of an error, without a data loader worker's traceback."""

from __future__ import annotations

from typing import List

__all__ = ["first_line", "message_lines", "on_one_line"]


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
