"""The data set wrapper that tells the pipeline the size of the batch."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Callable, Dict, List, Mapping, Optional

from mmengine.registry import DATASETS

from ..sampling.sized_index import SizedIndex
from ..sampling.sizes import Size

TARGET_SIZE = "target_size"

# The size on its way through the wrappers between the index and the pipeline. Set only
# while a sample is made, and apart for each thread and process.
_size_in_use: ContextVar[Optional[Size]] = ContextVar("_size_in_use", default=None)


def size_in_use() -> Optional[Size]:
    """``(height, width)`` of the batch whose sample is being made, or ``None``."""
    return _size_in_use.get()


class _SizedPipeline:
    """A pipeline that starts by writing the size into the sample."""

    def __init__(self, pipeline: Callable) -> None:
        self.pipeline = pipeline

    def __call__(self, results: Any) -> Any:
        size = _size_in_use.get()
        if size is not None and isinstance(results, dict):
            results[TARGET_SIZE] = size
        return self.pipeline(results)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "pipeline":
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    def __repr__(self) -> str:
        return repr(self.pipeline)


@DATASETS.register_module()
class MultiScaleDataset:
    """Puts the size of the batch into every sample: ``results['target_size']``.

    The outermost wrapper of a training data set whose batches come from
    :class:`MultiScaleVariableBatchSampler`. Whatever lies inside (``ConcatDataset``,
    ``RepeatDataset``, ``ClassBalancedDataset``, ``MultiImageMixDataset``), the
    pipelines at the bottom find ``(height, width)`` in pixels in the sample before
    their first transform: refetched samples, and images fetched to be mixed in,
    included. Everything else is the wrapped data set's own.

    With a plain index, as when a data set is browsed, no size is set.

    Args:
        dataset: The data set, or its config, built in the config's own scope.
    """

    def __init__(self, dataset: Any) -> None:
        if isinstance(dataset, Mapping):
            dataset = DATASETS.build(dataset)
        if isinstance(dataset, (str, bytes)) or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                "dataset must be a map-style data set or its config, "
                f"but got {type(dataset).__name__}"
            )
        self.dataset = dataset
        self._has_pipeline = _attach(dataset)

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, SizedIndex):
            return self.dataset[index]
        token = _size_in_use.set(index.size)
        try:
            sample = self.dataset[index]
        finally:
            _size_in_use.reset(token)
        if not self._has_pipeline and isinstance(sample, dict):
            sample.setdefault(TARGET_SIZE, index.size)
        return sample

    def __len__(self) -> int:
        return len(self.dataset)

    def full_init(self) -> None:
        """Initialize the wrapped data set, if it is one that needs it."""
        if hasattr(self.dataset, "full_init"):
            self.dataset.full_init()
            _attach(self.dataset)

    @property
    def pipeline(self) -> Any:
        """The pipeline of the wrapped data set; may be set, as some hooks do."""
        pipeline = self.dataset.pipeline
        return pipeline.pipeline if isinstance(pipeline, _SizedPipeline) else pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline
        _attach(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dataset={self.dataset!r})"


def _attach(dataset: Any) -> bool:
    """Let every pipeline at the bottom of ``dataset`` write the size.

    Returns:
        Whether there is such a pipeline.
    """
    inner = _wrapped(dataset)
    if inner:
        # All of them, not the first alone.
        return sum(_attach(each) for each in inner) > 0
    pipeline = getattr(dataset, "pipeline", None)
    if not callable(pipeline):
        return False
    if not isinstance(pipeline, _SizedPipeline):
        dataset.pipeline = _SizedPipeline(pipeline)
    return True


def _wrapped(dataset: Any) -> List[Any]:
    if isinstance(getattr(dataset, "datasets", None), (list, tuple)):
        return list(dataset.datasets)
    own: Dict[str, Any] = getattr(dataset, "__dict__", {})
    inner = own.get("dataset", own.get("_dataset"))
    return [inner] if hasattr(inner, "__getitem__") else []
