"""The message of an error, without a data loader worker's traceback."""

from __future__ import annotations

from typing import List

__all__ = ["message_lines"]


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
