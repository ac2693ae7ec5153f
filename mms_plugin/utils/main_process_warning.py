"""Log a warning on one process only."""

from __future__ import annotations

import logging

from mmengine.dist import is_main_process
from mmengine.logging import print_log

__all__ = ["warn_on_main_process"]


def warn_on_main_process(message: str) -> None:
    """Log a warning on the main process; the other ranks stay silent.

    Args:
        message: Text that names the values and what to set instead.
    """
    if is_main_process():
        print_log(message, logger="current", level=logging.WARNING)
