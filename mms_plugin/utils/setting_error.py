"""The error for a setting with which a sample cannot be loaded."""

from __future__ import annotations

__all__ = ["SettingError"]


class SettingError(ValueError):
    """A sample cannot be loaded with these settings; its file is valid.

    Its message names the setting and what would be right. Raised in a data loader's
    worker, it keeps its type in the main process.
    """
