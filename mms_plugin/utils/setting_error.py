"""Samples that fail because of a setting, while their files are fine."""

from __future__ import annotations

__all__ = ["SettingError"]


class SettingError(ValueError):
    """A sample cannot be loaded with these settings; no image file is at fault.

    Its message names the setting and what would be right. Raised in a data loader's
    worker, it keeps its type in the main process.
    """
