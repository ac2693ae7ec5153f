"""Errors of any data set's pipeline, with the image file in them."""

from __future__ import annotations

from typing import Any, Callable, NoReturn

from ..utils.nested_datasets import leaves
from ..utils.setting_error import SettingError

__all__ = ["TARGET_SIZE", "PathInErrors", "put_paths_in_errors", "raise_with_path"]

TARGET_SIZE = "target_size"
"""Where a sample holds the ``(height, width)`` of its batch."""


class PathInErrors:
    """A pipeline whose errors name the file of the sample.

    OpenCV's and Pillow's do not, and deep in a worker nothing else tells.

    Args:
        pipeline: The data set's own.
    """

    def __init__(self, pipeline: Callable) -> None:
        self.pipeline = pipeline

    def __call__(self, results: Any) -> Any:
        try:
            return self.pipeline(results)
        except Exception as error:
            raise_with_path(error, results)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "pipeline":
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def __repr__(self) -> str:
        return repr(self.pipeline)


def raise_with_path(error: Exception, results: Any) -> NoReturn:
    """Raise an error with the image file of its sample in it."""
    path = results.get("img_path") if isinstance(results, dict) else None
    if path is None or str(path) in str(error) or isinstance(error, ImportError):
        raise error
    size = results.get(TARGET_SIZE)
    at = "" if size is None else f" at (height, width) = {size}"
    if isinstance(error, SettingError):
        raise SettingError(f"{error} (met at {path}{at})") from error
    kind = ValueError if isinstance(error, ValueError) else RuntimeError
    text = f"{path} gives no sample{at}: {type(error).__name__}: {error}"
    raise kind(text) from error


def put_paths_in_errors(dataset: Any) -> None:
    """Let the errors of a data set's pipelines name the image file.

    Below wrappers, too. Workers that have started already keep what they have. A
    :class:`MultiScaleDataset` does so by itself.
    """
    for leaf in leaves(dataset):
        pipeline = getattr(leaf, "pipeline", None)
        if callable(pipeline) and not isinstance(pipeline, PathInErrors):
            leaf.pipeline = PathInErrors(pipeline)
