"""Heights and widths of all images of a data set, without unpickling its records.

MMEngine pickles the records of a data set into one array while it builds it, so that
workers share them. Reading two numbers of each record afterwards means unpickling all
of it, polygons included. Here they are read just before: the data set is built with
``serialize_data=False``, its list of records read, and then handed to MMEngine's own
serialization.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import Any, Callable, Iterator, List, Mapping, NamedTuple, Optional

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

# They take a data set that is built already, and keep to its records.
_WRAPPERS = {
    "ConcatDataset",
    "RepeatDataset",
    "ClassBalancedDataset",
    "MultiImageMixDataset",
}
_LIBRARIES = {"mmengine", "mmdet"}


class Recorded(NamedTuple):
    """What was read from one data set.

    Attributes:
        dataset: The data set.
        addresses: Its ``data_address`` at that time; another one, as after
            ``get_subset_``, belongs to other records.
        sizes: Shape ``(len(dataset), 2)``: height and width in pixels, ``float32``.
    """

    dataset: Any
    addresses: Any
    sizes: np.ndarray


def build_dataset(config: Mapping, recorded: List[Recorded]) -> Any:
    """Build a data set as ``DATASETS.build`` does, and record its images' sizes.

    Args:
        config: Config of the data set; MMEngine's and mmdet's wrappers are looked
            into.
        recorded: What could be read is appended here.

    Raises:
        ValueError: The annotations lack the ``width`` or ``height`` that the data set
            itself reads, or no sample is left.
    """
    kind = _class_of(config)
    if kind is not None and kind.__name__ in _WRAPPERS:
        return DATASETS.build(_with_built_data_sets(config, recorded))
    with _missing_sides_named(config.get("type"), config.get("ann_file")):
        if kind is None or not _serializes(kind, config):
            return DATASETS.build(config)
        try:
            dataset = DATASETS.build({**config, "serialize_data": False})
        except TypeError:  # a class that settles serialize_data on its own
            return DATASETS.build(config)
    dataset.serialize_data = True
    _record(dataset, recorded)
    return dataset


def _with_built_data_sets(config: Mapping, recorded: List[Recorded]) -> Any:
    """The config of a wrapper with the data sets at its bottom built.

    Wrappers inside it stay configs: MMEngine's take no other wrapper that is built.
    """
    if not isinstance(config, Mapping):
        return config
    kind = _class_of(config)
    if kind is None:
        return config
    if kind.__name__ not in _WRAPPERS:
        is_leaf = issubclass(kind, BaseDataset)
        return build_dataset(config, recorded) if is_leaf else config
    built = {**config}
    if "dataset" in built:
        built["dataset"] = _with_built_data_sets(built["dataset"], recorded)
    if isinstance(built.get("datasets"), (list, tuple)):
        built["datasets"] = [
            _with_built_data_sets(each, recorded) for each in built["datasets"]
        ]
    return built


def init_dataset(dataset: Any, recorded: List[Recorded]) -> None:
    """``full_init`` of a data set built with ``lazy_init``, its sizes recorded."""
    if not isinstance(dataset, BaseDataset) or dataset._fully_initialized:
        return
    serialize = dataset.serialize_data
    dataset.serialize_data = False
    try:
        with _missing_sides_named(type(dataset).__name__, dataset.ann_file):
            dataset.full_init()
    finally:
        dataset.serialize_data = serialize
    if serialize:
        _record(dataset, recorded)


def image_sizes(dataset: Any, recorded: List[Recorded]) -> Optional[np.ndarray]:
    """Heights and widths of a data set's images, as far as no record is unpickled.

    Args:
        dataset: A data set of MMEngine, or a wrapper round it.
        recorded: What was read when it was built.

    Returns:
        Shape ``(len(dataset), 2)``: height and width in pixels; ``None`` where only
        ``get_data_info`` can tell.
    """
    if isinstance(dataset, BaseDataset):
        return _sizes_of_leaf(dataset, recorded)
    names = {base.__name__ for base in type(dataset).__mro__}
    if not names & _WRAPPERS or not _keeps_data_info(dataset):
        return None
    if "ConcatDataset" in names:
        parts = [image_sizes(each, recorded) for each in dataset.datasets]
        if any(part is None for part in parts):
            return None
        return np.concatenate(parts)  # type: ignore[arg-type]
    inner = image_sizes(dataset.dataset, recorded)
    if inner is None or "MultiImageMixDataset" in names:
        return inner
    index: Callable[[int], int] = dataset._get_ori_dataset_idx
    sizes: np.ndarray = inner[[index(i) for i in range(len(dataset))]]
    return sizes


def _class_of(config: Mapping) -> Any:
    # With a scope of its own it is left to the registry.
    kind = None if "_scope_" in config else config.get("type")
    if isinstance(kind, str):
        with DATASETS.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
    return kind if inspect.isclass(kind) else None


def _serializes(kind: Any, config: Mapping) -> bool:
    """Whether a class pickles its records as soon as it is built from ``config``."""
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
    """Read the sizes of an initialized data set, then serialize its records."""
    if not dataset._fully_initialized or hasattr(dataset, "data_bytes"):
        return  # its class goes its own way
    if not dataset.data_list:
        raise ValueError(
            f"dataset must hold at least one sample, but {type(dataset).__name__} of "
            f"ann_file={dataset.ann_file!r} has none that "
            f"filter_cfg={dataset.filter_cfg!r} and indices={dataset._indices!r} leave"
        )
    sizes = _sizes_of_records(dataset.data_list)
    dataset.data_bytes, dataset.data_address = dataset._serialize_data()
    if sizes is not None:
        recorded.append(Recorded(dataset, dataset.data_address, sizes))


def _sizes_of_records(records: List[dict]) -> Optional[np.ndarray]:
    try:
        flat = [side for r in records for side in (r["height"], r["width"])]
        return np.asarray(flat, dtype=np.float32).reshape(-1, 2)
    except (KeyError, TypeError, ValueError):
        return None


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
    """Whether a wrapper's records are those of the data sets in it, unchanged."""
    module: str = type(dataset).get_data_info.__module__
    return module.partition(".")[0] in _LIBRARIES


@contextmanager
def _missing_sides_named(kind: Any, ann_file: Any) -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        if error.args[:1] not in (("width",), ("height",)):
            raise
        name = getattr(kind, "__name__", kind)
        raise ValueError(
            "ann_file must give 'width' and 'height' in pixels of each image, which "
            f"{name} needs, as does group_by_aspect_ratio=True, but {ann_file!r} lacks "
            f"{error} of at least one"
        ) from error
