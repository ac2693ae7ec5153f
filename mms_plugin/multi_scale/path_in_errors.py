"""Name the image file in the errors of a dataset's pipeline."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Callable, NoReturn

from ..utils.nested_datasets import with_pipelines
from ..utils.setting_error import SettingError
from .sizes import TARGET_SIZE

__all__ = ["PathInErrors", "put_paths_in_errors", "raise_with_path"]


class PathInErrors:
    """A pipeline whose errors name the image file of the sample.

    Errors of OpenCV and Pillow do not, and those of a worker do not tell its sample.

    Args:
        pipeline: The pipeline of the dataset.
    """

    def __init__(self, pipeline: Callable) -> None:
        self.pipeline = pipeline

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the pipeline."""
        try:
            return self.pipeline(*args, **kwargs)
        except Exception as error:
            raise_with_path(error, next(iter((*args, *kwargs.values())), None))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "pipeline":
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def __repr__(self) -> str:
        return repr(self.pipeline)


def raise_with_path(error: Exception, results: Any) -> NoReturn:
    """Raise an error again with the image file and the size of its sample.

    The error stays as it is if it names the file already, if the file is not known, or
    if it is an ``ImportError``.
    """
    path = results.get("img_path") if isinstance(results, dict) else None
    if path is None or str(path) in str(error) or isinstance(error, ImportError):
        raise error
    size = results.get(TARGET_SIZE)
    at = "" if size is None else f" at (height, width) = {size}"
    if isinstance(error, SettingError):
        raise SettingError(f"{error} (met at {path}{at})") from error
    kind = ValueError if isinstance(error, ValueError) else RuntimeError
    text = f"failed to load {path}{at}: {type(error).__name__}: {error}"
    raise kind(text) from error


def put_paths_in_errors(dataset: Any) -> None:
    """Let the errors of a dataset's pipelines name the image file.

    This includes the pipelines of datasets inside wrappers. It has no effect on
    workers that have started already. A :class:`MultiScaleDataset` does it by itself.
    """
    for inner in with_pipelines(dataset):
        if not isinstance(inner.pipeline, PathInErrors):
            with suppress(AttributeError):  # a property
                inner.pipeline = PathInErrors(inner.pipeline)
