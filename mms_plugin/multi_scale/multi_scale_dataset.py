"""The dataset wrapper that gives the pipeline the size of the batch.

The batch sampler gives indices with a size (``index.size``). The wrapper keeps it in
:func:`loading_sample` while wrappers such as ``ConcatDataset`` pass on plain indices.
The pipeline of the innermost dataset then writes it to ``results['target_size']``.
"""

from __future__ import annotations

import copy
import logging
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement
from torch.utils.data import IterableDataset

from ..utils.nested_datasets import walk, with_pipelines, without_slice
from ..utils.random_state import mixed_seed, seeded
from ..utils.setting_error import SettingError
from .image_sizes import Recorded, build_dataset, image_sizes, init_dataset
from .path_in_errors import PathInErrors
from .size_losses import LoadingSample, LossTally, SizeLosses, loading, loading_sample
from .sized_index import SizedIndex
from .sizes import TARGET_SIZE, Size


def size_in_use() -> Optional[Size]:
    """Return ``(height, width)`` of the batch whose sample is being loaded, if any."""
    sample = loading_sample()
    return None if sample is None else sample.size


class _SizedPipeline(PathInErrors):
    """A pipeline that first writes the size of the batch into the sample.

    Args:
        pipeline: The pipeline of the dataset.
        drops_empty: See :class:`LoadingSample`. Defaults to ``False``.
        counts: Whether to count the images; ``False`` for a wrapper, whose inner
            dataset counts them. Defaults to ``True``.
    """

    def __init__(
        self, pipeline: Callable, drops_empty: bool = False, counts: bool = True
    ) -> None:
        super().__init__(pipeline)
        self.drops_empty = drops_empty
        self.counts = counts

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        loaded = loading_sample()
        if loaded is None:  # a plain index
            with loading() as loaded:
                try:
                    return self(*args, **kwargs)
                except Exception as error:
                    loaded.raise_failure(error)
        given = (*args, *kwargs.values())
        results = next((each for each in given if isinstance(each, dict)), None)
        if loaded.size is not None and results is not None:
            results[TARGET_SIZE] = loaded.size
        loaded.drops_empty, loaded.drop = self.drops_empty, False
        try:
            sample = self.pipeline(*args, **kwargs)
        except Exception as error:
            if not self._skips_unreadable(error, results):
                # As it is: the dataset may handle it.
                loaded.failure = (error, results)
                raise
            sample = None
        finally:
            loaded.drops_empty = False
        if loaded.drop:
            sample = None
        if sample is None and _unread_file(results):
            print_log(
                f"{_unread_file(results)} cannot be read; another image is loaded",
                logger="current",
                level=logging.WARNING,
            )
        elif self.counts:
            loaded.count(images=1, replaced=sample is None)
        return sample

    def _skips_unreadable(self, error: Exception, results: Any) -> bool:
        # With ignore_empty mmcv returns None for a file that is missing or empty, but
        # fails an assertion for one that it cannot decode.
        return (
            isinstance(error, AssertionError)
            and _unread_file(results) is not None
            and any(
                getattr(transform, "ignore_empty", False)
                for transform in getattr(self.pipeline, "transforms", ())
            )
        )


def _unread_file(results: Any) -> Optional[str]:
    """Return the image file of a sample whose image has not been loaded."""
    if not isinstance(results, dict) or "img" in results:
        return None
    return results.get("img_path")


@DATASETS.register_module()
class MultiScaleDataset:
    """Put the size of the batch into every sample: ``results['target_size']``.

    It must be the outermost wrapper of a training dataset whose batches come from
    :class:`MultiScaleVariableBatchSampler`. Inside any wrappers (``ConcatDataset``,
    ``RepeatDataset``, ``ClassBalancedDataset``, ``MultiImageMixDataset``), the
    pipelines of the innermost datasets find ``(height, width)`` in pixels in the sample
    before their first transform. This includes images that replace others or are mixed
    in. Other attributes are those of the wrapped dataset.

    Random transforms depend on the seed, the rank, the batch and the index only, not
    on the number of workers or on whether a training was resumed: Python's, NumPy's and
    torch's generators are seeded for each sample, and restored afterwards in the main
    process. Where a batch holds an index several times (repeated augmentation), each
    time is augmented anew.

    With a plain index, as when a dataset is browsed, no size and no seed is set.

    Args:
        dataset: The dataset, or its config, built in the config's own scope.

    Raises:
        TypeError: ``dataset`` is not a map-style dataset or its config; there are other
            arguments, such as those of a dataset that a config inherits.
    """

    def __init__(self, dataset: Any, **others: Any) -> None:
        if "_delete_" in others:
            raise TypeError(
                "MultiScaleDataset got _delete_=True as an argument: MMEngine applies "
                "it where a config inherits and in merge(...), not in update(...). "
                "Write train_dataloader.merge(dict(dataset=...)), or assign "
                "train_dataloader['dataset'] = dict(...)"
            )
        if others:
            raise TypeError(
                f"MultiScaleDataset takes dataset only, but got {', '.join(others)}. "
                "They belong to the dataset inside. If this config inherits them, "
                "write _delete_=True beside type='MultiScaleDataset', to replace the "
                "inherited dataset"
            )
        self._recorded: List[Recorded] = []
        self._tally = LossTally()
        if isinstance(dataset, Mapping):
            dataset = build_dataset(dataset, self._recorded)
        if isinstance(dataset, (str, bytes, IterableDataset)) or not hasattr(
            dataset, "__getitem__"
        ):
            raise TypeError(
                "dataset must be a map-style dataset or its config, "
                f"but got {type(dataset).__name__}"
            )
        self.dataset = dataset
        self._piped = list(with_pipelines(dataset))
        self._has_pipeline = _attach(self._piped)

    def __getitem__(self, index: int) -> Any:
        if not isinstance(index, SizedIndex):
            return self.dataset[index]
        if self._has_pipeline:
            _attach(self._piped)  # hooks may set the pipeline of an inner dataset
        seed = None if index.seed is None else mixed_seed(index.seed, index)
        with loading(index.size, self._tally) as loaded, seeded(seed):
            try:
                sample = self.dataset[index]
            except Exception as error:
                if loaded.replaced == 0 or _NO_SAMPLE not in str(error):
                    loaded.raise_failure(error)
                raise _nothing_left(loaded) from error
        lacks = isinstance(sample, dict) and TARGET_SIZE not in sample
        if lacks and not self._has_pipeline:
            sample = copy.copy(sample)  # it may be in a user's cache
            sample[TARGET_SIZE] = index.size
        packed = sample.get("data_samples") if isinstance(sample, dict) else None
        if isinstance(packed, BaseDataElement):
            # For a data preprocessor that pads to the size of the batch.
            packed.set_metainfo({TARGET_SIZE: index.size})
        return sample

    def __len__(self) -> int:
        self.full_init()  # with its errors, rather than that of the wrapped dataset
        return len(self.dataset)

    def full_init(self) -> None:
        """Initialize the wrapped dataset, if it needs it."""
        if hasattr(self.dataset, "full_init"):
            for inner in walk(self.dataset):
                init_dataset(inner, self._recorded)
            self.dataset.full_init()

    def size_losses(self) -> Dict[Size, SizeLosses]:
        """Return the losses at each size since the dataset was built.

        By ``(height, width)``, from small to large, of all worker processes. Objects
        that other transforms drop (mmdet's ``FilterAnnotations``) are not counted,
        but images that are replaced because of them are.
        """
        return self._tally.totals()

    def counted_apart(self) -> MultiScaleDataset:
        """Return a shallow copy that counts its lost objects by itself.

        For images that are loaded beside the training.
        """
        other = copy.copy(self)
        other._tally = LossTally()
        return other

    def image_sizes(self) -> Optional[np.ndarray]:
        """Return height and width in pixels of all images, shape ``(len(self), 2)``.

        They are read while the dataset is built or initialized, before MMEngine
        pickles its records. ``None`` if the records do not have them, if they were
        pickled before, or in a worker process: then use ``get_data_info``.
        """
        return image_sizes(self.dataset, self._recorded)

    @property
    def pipeline(self) -> Any:
        """The pipeline of the wrapped dataset; some hooks set it."""
        pipeline = self.dataset.pipeline
        return pipeline.pipeline if isinstance(pipeline, _SizedPipeline) else pipeline

    @pipeline.setter
    def pipeline(self, pipeline: Any) -> None:
        self.dataset.pipeline = pipeline

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getstate__(self) -> Dict[str, Any]:
        # Only the sampler needs the sizes, and it stays in the main process.
        return {**self.__dict__, "_recorded": []}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(dataset={self.dataset!r})"


# Part of MMEngine's error after ``max_refetch`` images.
_NO_SAMPLE = "Cannot find valid image after"


def _nothing_left(loaded: LoadingSample) -> SettingError:
    """Return the error for a size at which all images are dropped."""
    tried = (
        f"at (height, width) = {loaded.size} {loaded.replaced} of {loaded.tried} "
        f"images tried ({loaded.replaced / loaded.tried:.1%})"
    )
    keep = "keep images without objects, filter_cfg=dict(filter_empty_gt=False)"
    if loaded.min_box_side is None:
        return SettingError(
            f"pipeline must give samples at every size, but {tried} gave none, though "
            "they can be read: leave out the sizes at which its transforms drop every "
            f"object (FilterAnnotations, RandomCrop), or {keep}"
        )
    return SettingError(
        f"sizes must leave objects to train on, but {tried} lost all of them to "
        f"min_box_side={loaded.min_box_side:g} pixels: leave out the smallest sizes, "
        f"lower min_box_side of MultiScaleTransform (0 keeps all), or {keep}"
    )


def _attach(datasets: Sequence[Any]) -> bool:
    """Let the pipelines of datasets write the size.

    Args:
        datasets: Those of :func:`with_pipelines`.

    Returns:
        Whether there is such a pipeline.
    """
    found = False
    for inner in datasets:
        if not isinstance(inner.pipeline, _SizedPipeline):
            innermost = len(list(with_pipelines(inner))) == 1
            try:
                inner.pipeline = _SizedPipeline(
                    inner.pipeline, _drops_empty(inner), innermost
                )
            except AttributeError:  # a property
                continue
        found = True
    return found


def _drops_empty(leaf: Any) -> bool:
    """Return whether another sample replaces one without objects."""
    if getattr(leaf, "test_mode", False) or _holds_videos(leaf):
        return False
    filter_cfg = getattr(leaf, "filter_cfg", None) or {}
    return bool(filter_cfg.get("filter_empty_gt", False))


def _holds_videos(dataset: Any) -> bool:
    # A frame without objects stays: the others of its sample may have some.
    return any(base.__name__ == "BaseVideoDataset" for base in type(dataset).__mro__)


def check_wrapped(dataset: Any) -> None:
    """Check that a dataset of MMEngine passes on the size of the batch.

    Args:
        dataset: Dataset of the inner sampler.

    Raises:
        ValueError: Its outermost wrapper is not a :class:`MultiScaleDataset`.
    """
    dataset = without_slice(dataset)
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
