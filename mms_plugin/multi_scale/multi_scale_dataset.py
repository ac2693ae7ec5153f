"""The data set wrapper that tells the pipeline the size of the batch."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, Callable, Dict, List, Mapping, Optional

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement

from ..utils.nested_datasets import leaves, walk, wrapped
from ..utils.random_state import mixed_seed, seeded
from ..utils.setting_error import SettingError
from .image_sizes import Recorded, build_dataset, image_sizes, init_dataset
from .path_in_errors import TARGET_SIZE, PathInErrors, raise_with_path
from .size_losses import ItemLosses, LossTally, SizeLosses, item_losses, watching
from .sized_index import SizedIndex
from .sizes import Size

# The size on its way through the wrappers between the index and the pipeline. Set only
# while a sample is made, and apart for each thread and process.
_size_in_use: ContextVar[Optional[Size]] = ContextVar("_size_in_use", default=None)


# Whether MMEngine fetches another sample in place of one without objects.
_drops_empty: ContextVar[bool] = ContextVar("_drops_empty", default=False)


def drops_empty_samples() -> bool:
    """Whether the sample being made goes if it has lost all its objects.

    True inside the pipeline of a training data set whose ``filter_cfg`` has
    ``filter_empty_gt=True``. Not in the pipeline of ``MultiImageMixDataset``, which
    would repeat one and the same transform.
    """
    return _drops_empty.get()


def size_in_use() -> Optional[Size]:
    """``(height, width)`` of the batch whose sample is being made, or ``None``."""
    return _size_in_use.get()


class _SizedPipeline(PathInErrors):
    """A pipeline that starts by writing the size into the sample.

    Args:
        pipeline: The data set's own.
        drops_empty: See :func:`drops_empty_samples`.
        tally: Takes what each size has lost. Defaults to none.
    """

    def __init__(
        self,
        pipeline: Callable,
        drops_empty: bool = False,
        tally: Optional[LossTally] = None,
    ) -> None:
        super().__init__(pipeline)
        self.drops_empty = drops_empty
        self.tally = tally

    def __call__(self, results: Any) -> Any:
        size = _size_in_use.get()
        if size is not None and isinstance(results, dict):
            results[TARGET_SIZE] = size
        token = _drops_empty.set(self.drops_empty)
        try:
            sample = self.pipeline(results)
        except Exception as error:
            if not self._replaces_unreadable(error, results):
                raise_with_path(error, results)
            sample = None
        finally:
            _drops_empty.reset(token)
        if sample is None and _unread_file(results):
            print_log(
                f"{_unread_file(results)} cannot be read; another image is fetched",
                logger="current",
                level=logging.WARNING,
            )
        else:
            self._count(sample, size)
        return sample

    def _count(self, sample: Any, size: Optional[Size]) -> None:
        item = item_losses()
        if item is not None and size is not None and self.tally is not None:
            self.tally.add(size, item.take_image(sample is None))

    def _replaces_unreadable(self, error: Exception, results: Any) -> bool:
        # mmcv gives None for a file that is missing or empty, but one that does not
        # decode fails an assertion, whatever its ignore_empty says.
        return (
            isinstance(error, AssertionError)
            and _unread_file(results) is not None
            and any(
                getattr(transform, "ignore_empty", False)
                for transform in getattr(self.pipeline, "transforms", ())
            )
        )


def _unread_file(results: Any) -> Optional[str]:
    """The image file of a sample whose image has not been loaded."""
    if not isinstance(results, dict) or "img" in results:
        return None
    return results.get("img_path")


@DATASETS.register_module()
class MultiScaleDataset:
    """Puts the size of the batch into every sample: ``results['target_size']``.

    The outermost wrapper of a training data set whose batches come from
    :class:`MultiScaleVariableBatchSampler`. Whatever lies inside (``ConcatDataset``,
    ``RepeatDataset``, ``ClassBalancedDataset``, ``MultiImageMixDataset``), the
    pipelines at the bottom find ``(height, width)`` in pixels in the sample before
    their first transform: refetched samples, and images fetched to be mixed in,
    included. Everything else is the wrapped data set's own.

    What is random in making a sample depends on the seed, the batch and the index
    alone, not on the number of workers or on where a training was resumed: Python's,
    NumPy's and torch's generators are seeded for each sample, and in the main process
    put back after it.

    With a plain index, as when a data set is browsed, no size and no seed is set.

    Args:
        dataset: The data set, or its config, built in the config's own scope.
    """

    def __init__(self, dataset: Any) -> None:
        self._recorded: List[Recorded] = []
        self._tally = LossTally()
        if isinstance(dataset, Mapping):
            dataset = build_dataset(dataset, self._recorded)
        if isinstance(dataset, (str, bytes)) or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                "dataset must be a map-style data set or its config, "
                f"but got {type(dataset).__name__}"
            )
        self.dataset = dataset
        self._has_pipeline = _attach(dataset, self._tally)

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, SizedIndex):
            return self.dataset[index]
        seed = None if index.seed is None else mixed_seed(index.seed, index)
        token = _size_in_use.set(index.size)
        try:
            with watching(self._tally, index.size) as item, seeded(seed):
                try:
                    sample = self.dataset[index]
                except Exception as error:
                    if item.replaced == 0 or _NO_SAMPLE not in str(error):
                        raise
                    raise _nothing_left(index.size, item) from error
        finally:
            _size_in_use.reset(token)
        if not self._has_pipeline and isinstance(sample, dict):
            sample.setdefault(TARGET_SIZE, index.size)
        packed = sample.get("data_samples") if isinstance(sample, dict) else None
        if isinstance(packed, BaseDataElement):
            # For a data preprocessor that pads to the size of the batch.
            packed.set_metainfo({TARGET_SIZE: index.size})
        return sample

    def __len__(self) -> int:
        return len(self.dataset)

    def full_init(self) -> None:
        """Initialize the wrapped data set, if it is one that needs it."""
        if hasattr(self.dataset, "full_init"):
            for leaf in leaves(self.dataset):
                init_dataset(leaf, self._recorded)
            self.dataset.full_init()
            _attach(self.dataset, self._tally)

    def size_losses(self) -> Dict[Size, SizeLosses]:
        """Return what each size has taken from the dataset since it was built.

        By ``(height, width)``, from small to large, worker processes included.
        Objects that other transforms drop (mmdet's ``FilterAnnotations``) are not
        counted, images that are replaced because of them are.
        """
        return self._tally.totals()

    def image_sizes(self) -> Optional[np.ndarray]:
        """Height and width in pixels of every image, shape ``(len(self), 2)``.

        They are read while the data set is built or initialized, before MMEngine
        pickles its records. ``None`` if the records do not hold them, or if the data
        set came here with its records pickled, or in a worker process: then
        ``get_data_info`` tells.
        """
        return image_sizes(self.dataset, self._recorded)

    @property
    def pipeline(self) -> Any:
        """The pipeline of the wrapped data set; may be set, as some hooks do."""
        pipeline = self.dataset.pipeline
        return pipeline.pipeline if isinstance(pipeline, _SizedPipeline) else pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline
        _attach(self.dataset, self._tally)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getstate__(self) -> Dict[str, Any]:
        # The sampler reads the sizes, and that stays in the main process.
        return {**self.__dict__, "_recorded": []}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dataset={self.dataset!r})"


# MMEngine's words after ``max_refetch`` images.
_NO_SAMPLE = "Cannot find valid image after"


def _nothing_left(size: Size, item: ItemLosses) -> SettingError:
    tried = (
        f"at (height, width) = {size} {item.replaced} of {item.tried} images tried "
        f"({item.replaced / item.tried:.1%})"
    )
    keep = "keep images without objects, filter_cfg=dict(filter_empty_gt=False)"
    if item.min_box_side is None:
        return SettingError(
            f"pipeline must give samples at every size, but {tried} gave none, though "
            "they were read: leave out the sizes at which its transforms drop every "
            f"object (FilterAnnotations, RandomCrop), or {keep}"
        )
    return SettingError(
        f"sizes must leave objects to train on, but {tried} lost all of them to "
        f"min_box_side={item.min_box_side:g} pixels: leave out the smallest sizes, "
        f"lower min_box_side of MultiScaleTransform (0 keeps all), or {keep}"
    )


def _attach(dataset: Any, tally: LossTally) -> bool:
    """Let every pipeline at the bottom of ``dataset`` write the size.

    Returns:
        Whether there is such a pipeline.
    """
    inner = wrapped(dataset)
    if inner:
        # All of them, not the first alone.
        return sum(_attach(each, tally) for each in inner) > 0
    pipeline = getattr(dataset, "pipeline", None)
    if not callable(pipeline):
        return False
    if not isinstance(pipeline, _SizedPipeline):
        filter_cfg = getattr(dataset, "filter_cfg", None) or {}
        drops_empty = bool(filter_cfg.get("filter_empty_gt", False))
        test_mode = getattr(dataset, "test_mode", False)
        dataset.pipeline = _SizedPipeline(
            pipeline, drops_empty and not test_mode, tally
        )
    return True


def check_wrapped(dataset: Any) -> None:
    """Refuse a dataset of MMEngine that would lose the size of the batch.

    Args:
        dataset: Of the inner sampler.

    Raises:
        ValueError: It is not a :class:`MultiScaleDataset` on the outside.
    """
    # MMEngine's num_batch_per_epoch puts a slice around it.
    while not isinstance(dataset, MultiScaleDataset) and hasattr(dataset, "_dataset"):
        dataset = dataset._dataset
    if isinstance(dataset, MultiScaleDataset):
        return
    name = type(dataset).__name__
    inner = list(walk(dataset))
    if any(isinstance(each, MultiScaleDataset) for each in inner):
        raise ValueError(
            f"dataset must be a MultiScaleDataset on the outside, but got it inside "
            f"{name}: write dataset=dict(type='MultiScaleDataset', "
            f"dataset=dict(type='{name}', ...))"
        )
    if any(isinstance(each, BaseDataset) for each in inner):
        raise ValueError(
            f"dataset must be wrapped for its pipeline to learn the size of the batch, "
            f"but got {name}: write dataset=dict(type='MultiScaleDataset', "
            f"dataset=dict(type='{name}', ...))"
        )
