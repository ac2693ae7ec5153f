"""Count the samples of a dataset from its config."""

from __future__ import annotations

import os
import os.path as osp
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

from mmengine.registry import DATASETS

from ..utils.config_types import class_name
from ..utils.error_text import on_one_line
from ..utils.nested_datasets import inner_datasets

__all__ = ["SampleCount", "count_samples", "samples_of_epoch"]

#: Images of training sets that mmdet and mmpretrain know by name.
KNOWN_SIZES: Mapping[str, Tuple[int, str]] = {
    "imagenet": (1_281_167, "ImageNet-1k's training set"),
    # mmdet leaves out images without objects.
    "coco": (117_266, "COCO train2017's images with objects"),
    "coco, all": (118_287, "COCO train2017's images"),
    # mmdet leaves out images without things: about those without objects.
    "coco, panoptic": (
        117_266,
        "COCO train2017's images with objects, for those with things",
    ),
    "cifar": (50_000, "CIFAR's training set"),
}

_IMAGENET_CLASSES = 1000

_SET_NUMBER = (
    "set num_samples (--num-samples, or num_samples of a recipe), the samples of an "
    "epoch including the repeats of a RepeatDataset"
)


class SampleCount(NamedTuple):
    """Samples of a dataset in an epoch, and where the number is from."""

    number: int
    source: str


def count_samples(dataset: Mapping) -> SampleCount:
    """Count the samples of a dataset from its config.

    Those of an annotation file that is there, counted as its library counts them;
    else the known size of ImageNet-1k, CIFAR or COCO train2017. Wrappers count as what
    they do: ``RepeatDataset``, ``ConcatDataset``, ``MultiImageMixDataset``, and, where
    the annotations are there, ``ClassBalancedDataset``. A folder of 1,000 classes for
    ``ImageNet`` counts as ImageNet-1k, without a look at its files.

    Raises:
        ValueError: Neither is known, or the dataset cannot be built from its files.
    """
    indices = dataset.get("indices")
    if indices is not None:
        # A negative number of them: the last ones.
        number = abs(indices) if isinstance(indices, int) else len(indices)
        return SampleCount(number, "indices of the dataset")
    return _count_kind(class_name(dataset["type"]), dataset)


def _count_kind(kind: str, dataset: Mapping) -> SampleCount:
    if kind in ("MultiScaleDataset", "MultiImageMixDataset"):
        return count_samples(dataset["dataset"])
    if kind == "RepeatDataset":
        inner, times = count_samples(dataset["dataset"]), dataset["times"]
        return SampleCount(inner.number * times, f"{times} times {inner.source}")
    if kind == "ConcatDataset":
        parts = [count_samples(part) for part in dataset["datasets"]]
        names = " and ".join(part.source for part in parts)
        return SampleCount(sum(part.number for part in parts), names)
    if kind in ("CIFAR10", "CIFAR100") and dataset.get("split", "train") == "train":
        # Always known, and to build it would download it.
        return SampleCount(*KNOWN_SIZES["cifar"])
    built = _count_built(dataset)
    if built is not None:
        return built
    annotations = str(dataset.get("ann_file"))
    # The known numbers are those of all classes.
    classes = (dataset.get("metainfo") or {}).get("classes")
    split = str((dataset.get("split"), annotations, _prefix(dataset)))
    if kind == "ImageNet" and classes is None and "val" not in split:
        return SampleCount(*KNOWN_SIZES["imagenet"])
    if kind in ("CocoDataset", "CocoPanopticDataset") and "train2017" in annotations:
        if not (dataset.get("filter_cfg") or {}).get("filter_empty_gt", False):
            return SampleCount(*KNOWN_SIZES["coco, all"])
        if classes is None:
            name = "coco" if kind == "CocoDataset" else "coco, panoptic"
            return SampleCount(*KNOWN_SIZES[name])
    raise ValueError(
        f"the number of samples of {kind} is not known and neither its annotations nor "
        f"its images are there; {_SET_NUMBER}"
    )


def _count_built(dataset: Mapping) -> Optional[SampleCount]:
    """Ask the dataset itself, where its files are.

    Raises:
        ValueError: It cannot be built.
    """
    path = _path_of(dataset)
    if path is None:
        return None
    try:
        built = DATASETS.build(_without_images(dataset))
        return SampleCount(len(built), path)
    except (FileNotFoundError, ImportError):
        return None
    except Exception as error:  # of any kind: what the dataset makes of its files
        raise ValueError(
            f"{class_name(dataset['type'])} cannot be built from {path}: "
            f"{type(error).__name__}: {on_one_line(error)}; correct it, or "
            f"{_SET_NUMBER}"
        ) from error


def _without_images(dataset: Mapping) -> Dict[str, Any]:
    """Return a dataset's config that only reads annotations, wrapped ones too."""
    changed: Dict[str, Any] = dict(dataset)
    if "lazy_init" in changed:
        changed["lazy_init"] = False
    if isinstance(changed.get("dataset"), Mapping):
        changed["dataset"] = _without_images(changed["dataset"])
    if isinstance(changed.get("datasets"), (list, tuple)):
        changed["datasets"] = [
            _without_images(each) if isinstance(each, Mapping) else each
            for each in changed["datasets"]
        ]
    if "pipeline" in changed:
        changed["pipeline"] = []
    return changed


def _path_of(dataset: Mapping) -> Optional[str]:
    """Return the annotations or the images of a dataset, if they are there."""
    inner = [nested for _, nested in inner_datasets(dataset, "")]
    if inner:  # a wrapper
        paths = [isinstance(each, Mapping) and _path_of(each) for each in inner]
        return ", ".join(dict.fromkeys(map(str, paths))) if all(paths) else None
    root = str(dataset.get("data_root") or "")
    annotations = str(dataset.get("ann_file") or "")
    inside = annotations or _prefix(dataset)
    path = osp.join(root, inside) if inside else root
    if class_name(dataset["type"]) == "ImageNet" and not annotations:
        split = str(dataset.get("split") or "")
        path = _imagenet_path(root, split, _prefix(dataset) or split)
    return path if path and osp.exists(path) else None


def _prefix(dataset: Mapping) -> str:
    prefix = dataset.get("data_prefix") or ""
    if isinstance(prefix, Mapping):
        prefix = prefix.get("img_path") or ""
    return str(prefix)


def _imagenet_path(root: str, split: str, prefix: str) -> str:
    """Return ImageNet's list of images, or the images' folder if it is another set.

    The whole set is not looked through: a million files for a number that is known.
    """
    listed = osp.join(root, "meta", f"{split or 'train'}.txt")
    folder = osp.join(root, prefix)
    if osp.exists(listed) or not osp.isdir(folder):
        return listed
    with os.scandir(folder) as entries:
        classes = sum(entry.is_dir() for entry in entries)
    return "" if classes in (0, _IMAGENET_CLASSES) else folder


def samples_of_epoch(
    loader: Mapping, num_samples: Optional[int], world_size: int
) -> SampleCount:
    """Return the samples of an epoch from the config of a data loader.

    Args:
        loader: Its ``num_batch_per_epoch`` goes before everything else.
        num_samples: Samples that the dataset has; ``None``: those that
            :func:`count_samples` finds.
        world_size: Number of ranks.

    Raises:
        ValueError: The number is not known, or less than 1.
    """
    batches = loader.get("num_batch_per_epoch")
    if batches is not None:
        number = batches * loader["batch_size"] * world_size
        return SampleCount(number, "num_batch_per_epoch of the data loader")
    if num_samples is not None:
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, but got {num_samples}")
        return SampleCount(num_samples, "given")
    if not isinstance(loader.get("dataset"), Mapping):
        raise ValueError(f"train_dataloader.dataset must be a config; {_SET_NUMBER}")
    return count_samples(loader["dataset"])
