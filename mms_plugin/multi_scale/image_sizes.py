"""Record the heights and widths of all images while a dataset is built.

MMEngine pickles the records of a dataset into one array that worker processes share.
To read two numbers of a record afterwards, all of it must be unpickled, polygons
included. So the dataset is built with ``serialize_data=False``, its records are read,
and then MMEngine's own method pickles them.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from ..utils.config_types import class_name
from ..utils.nested_datasets import wrapped

# Wrappers that take a built dataset and do not change its records.
_WRAPPERS = {
    "ConcatDataset",
    "RepeatDataset",
    "ClassBalancedDataset",
    "MultiImageMixDataset",
}
_LIBRARIES = {"mmengine", "mmdet"}


class Recorded(NamedTuple):
    """The image sizes of one dataset.

    Attributes:
        dataset: The dataset.
        addresses: Its ``data_address`` when they were read. It is replaced when the
            records change, as by ``get_subset_``.
        sizes: Shape ``(len(dataset), 2)``: height and width in pixels, ``float32``.
    """

    dataset: Any
    addresses: Any
    sizes: np.ndarray


def build_dataset(config: Mapping, recorded: List[Recorded]) -> Any:
    """Build a dataset as ``DATASETS.build`` does, and record the sizes of its images.

    Args:
        config: Config of the dataset, or of a wrapper of MMEngine or mmdet.
        recorded: The sizes are appended to this list, if they can be read.

    Raises:
        ValueError: The annotations lack the ``width`` or ``height`` that the dataset
            itself reads, or no sample is left.
    """
    kind = _class_of(config)
    if _takes_built_dataset(kind):
        return DATASETS.build(_with_built_leaves(config, recorded))
    with _explain_missing_sides(config.get("type"), config.get("ann_file")):
        if kind is None or not _serializes(kind, config):
            return DATASETS.build(config)
        try:
            dataset = DATASETS.build({**config, "serialize_data": False})
        except Exception:  # a class that is not prepared for it
            return DATASETS.build(config)
    dataset.serialize_data = True
    _record(dataset, recorded)
    return dataset


def _with_built_leaves(config: Mapping, recorded: List[Recorded]) -> Any:
    """Return the config of a wrapper in which the innermost datasets are built.

    Wrappers stay configs, since MMEngine's wrappers take no built wrapper.
    """
    if not isinstance(config, Mapping):
        return config
    kind = _class_of(config)
    if kind is None:
        return config
    if not _takes_built_dataset(kind):
        is_leaf = issubclass(kind, BaseDataset)
        return build_dataset(config, recorded) if is_leaf else config
    built = {**config}
    if "dataset" in built:
        built["dataset"] = _with_built_leaves(built["dataset"], recorded)
    if isinstance(built.get("datasets"), (list, tuple)):
        built["datasets"] = [
            _with_built_leaves(each, recorded) for each in built["datasets"]
        ]
    return built


def _takes_built_dataset(kind: Any) -> bool:
    """Return whether it is a wrapper of MMEngine or mmdet; mmseg's takes a config."""
    library = getattr(kind, "__module__", "").partition(".")[0]
    return getattr(kind, "__name__", "") in _WRAPPERS and library in _LIBRARIES


def init_dataset(dataset: Any, recorded: List[Recorded]) -> None:
    """Call ``full_init`` of a dataset and record the sizes of its images."""
    if not isinstance(dataset, BaseDataset) or dataset._fully_initialized:
        return
    serialize = dataset.serialize_data
    dataset.serialize_data = False
    try:
        with _explain_missing_sides(type(dataset).__name__, dataset.ann_file):
            dataset.full_init()
    finally:
        dataset.serialize_data = serialize
    if serialize:
        _record(dataset, recorded)


def sides_of_record(record: Mapping) -> Tuple[Any, Any]:
    """Return height and width in a record; of a video, those of its first frame.

    Args:
        record: Record of an image, or of a video of mmdet's ``BaseVideoDataset``.

    Returns:
        In pixels; ``None`` for a side that is not in the record.
    """
    frames = record.get("images")
    if isinstance(frames, list) and frames:
        record = frames[0]
    return record.get("height"), record.get("width")


def image_sizes(dataset: Any, recorded: List[Recorded]) -> Optional[np.ndarray]:
    """Return the heights and widths of a dataset's images without unpickling records.

    Args:
        dataset: A dataset of MMEngine, or a wrapper of such datasets.
        recorded: The sizes that were recorded when it was built.

    Returns:
        Shape ``(len(dataset), 2)``: height and width in pixels; ``None`` if they must
        be read from ``get_data_info``.
    """
    if isinstance(dataset, BaseDataset):
        return _sizes_of_leaf(dataset, recorded)
    names = {base.__name__ for base in type(dataset).__mro__}
    if not names & _WRAPPERS or not _keeps_data_info(dataset):
        return None
    parts = [image_sizes(each, recorded) for each in wrapped(dataset)]
    if any(part is None for part in parts):
        return None
    sizes: np.ndarray = np.concatenate(parts)  # type: ignore[arg-type]
    if names & {"ConcatDataset", "MultiImageMixDataset"}:
        return sizes
    # The others repeat images of the dataset inside.
    index: Callable[[int], int] = dataset._get_ori_dataset_idx
    return sizes[[index(i) for i in range(len(dataset))]]


def _class_of(config: Mapping) -> Any:
    """Return the class of a dataset's config; ``None`` if only the registry knows."""
    kind = None if "_scope_" in config else config.get("type")
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    return kind if inspect.isclass(kind) else None


def _serializes(kind: Any, config: Mapping) -> bool:
    """Return whether a class pickles its records when it is built from ``config``."""
    if not issubclass(kind, BaseDataset) or config.get("lazy_init", False):
        return False
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(base.__init__).parameters
        if "serialize_data" in parameters:
            default = parameters["serialize_data"].default
            return bool(config.get("serialize_data", default))
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            return False
    return False


def _record(dataset: BaseDataset, recorded: List[Recorded]) -> None:
    """Read the sizes of an initialized dataset, then serialize its records."""
    if not dataset._fully_initialized or hasattr(dataset, "data_bytes"):
        return  # its class initializes it in another way
    if not dataset.data_list:
        raise ValueError(
            f"dataset must hold at least one sample, but {type(dataset).__name__} of "
            f"ann_file={dataset.ann_file!r} has none left after "
            f"filter_cfg={dataset.filter_cfg!r} and indices={dataset._indices!r}"
        )
    sizes = _sizes_of_records(dataset.data_list)
    dataset.data_bytes, dataset.data_address = dataset._serialize_data()
    if sizes is not None:
        recorded.append(Recorded(dataset, dataset.data_address, sizes))


def _sizes_of_records(records: List[dict]) -> Optional[np.ndarray]:
    try:
        flat = [side for record in records for side in sides_of_record(record)]
        sizes = np.asarray(flat, dtype=np.float32).reshape(-1, 2)
    except (AttributeError, TypeError, ValueError):
        return None
    return None if np.isnan(sizes).any() else sizes


def _sizes_of_leaf(
    dataset: BaseDataset, recorded: List[Recorded]
) -> Optional[np.ndarray]:
    if type(dataset).get_data_info is not BaseDataset.get_data_info:
        return None
    if not dataset.serialize_data:
        return _sizes_of_records(dataset.data_list)
    for each in recorded:
        if each.dataset is dataset and each.addresses is dataset.data_address:
            return each.sizes
    return None


def _keeps_data_info(dataset: Any) -> bool:
    """Return whether a wrapper gives the records of its datasets unchanged."""
    module: str = type(dataset).get_data_info.__module__
    return module.partition(".")[0] in _LIBRARIES


@contextmanager
def _explain_missing_sides(kind: Any, ann_file: Any) -> Iterator[None]:
    """Turn the ``KeyError`` of a missing width or height into a clear error."""
    try:
        yield
    except KeyError as error:
        if error.args[:1] not in (("width",), ("height",)):
            raise
        raise ValueError(
            "ann_file must give 'width' and 'height' in pixels of each image, which "
            f"{class_name(kind)} and group_by_aspect_ratio=True need, but "
            f"{ann_file!r} lacks {error} of at least one"
        ) from error
