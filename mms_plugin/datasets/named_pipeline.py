"""Errors of any data set's pipeline, with the image file in them."""

from __future__ import annotations

from typing import Any, Callable

from .multi_scale_dataset import _leaves, _naming_the_file, _SizedPipeline

__all__ = ["name_files"]


class _NamedPipeline:
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
            named = _naming_the_file(error, results)
            if named is None:
                raise
            raise named from error

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "pipeline":
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def __repr__(self) -> str:
        return repr(self.pipeline)


def name_files(dataset: Any) -> None:
    """Let the errors of a data set's pipelines name the image file.

    Below wrappers, too. Workers that have started already keep what they have. A
    :class:`MultiScaleDataset` does so by itself.
    """
    for leaf in _leaves(dataset):
        pipeline = getattr(leaf, "pipeline", None)
        if callable(pipeline) and not isinstance(
            pipeline, (_NamedPipeline, _SizedPipeline)
        ):
            leaf.pipeline = _NamedPipeline(pipeline)
