"""What an error says, without what a data loader's worker puts around it."""

from __future__ import annotations

from typing import List

__all__ = ["message_lines"]


def message_lines(message: str) -> List[str]:
    """The lines of an error's message, none of them empty.

    Of an error from a data loader's worker, whose message is a traceback, the last.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if any(line.startswith("Original Traceback") for line in lines):
        return lines[-1:]
    return lines
