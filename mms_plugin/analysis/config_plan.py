"""Plan a training from its config: no data, no runner, no other ranks."""

from __future__ import annotations

import math
import os
import os.path as osp
from collections import Counter
from typing import (
    Any,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Tuple,
)

from mmengine.registry import DATA_SAMPLERS, DATASETS, HOOKS, TRANSFORMS

from ..hooks.resolution_curriculum_hook import ResolutionCurriculumHook
from ..multi_scale.curriculum import ResolutionCurriculum
from ..multi_scale.multi_scale_transform import MultiScaleTransform
from ..multi_scale.multi_scale_variable_batch_sampler import (
    MultiScaleVariableBatchSampler,
)
from ..multi_scale.sizes import Size
from ..utils.error_text import message_lines
from ..utils.nested_transforms import branches
from .training_plan import EpochPlan, fixed_size_plan

__all__ = [
    "ConfigPlan",
    "EpochCount",
    "SampleCount",
    "config_plan",
    "count_samples",
    "curriculum_of",
    "counted_size",
    "fixed_size",
    "is_multi_scale",
]

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

# Samplers that give each rank ceil(samples / ranks), or fewer with round_up=False.
_SHARING_SAMPLERS = (
    "DefaultSampler",
    "KeyedPermutationSampler",
    "SequentialSampler",
    "RepeatAugSampler",
    "ClassAwareSampler",
)
_ENDLESS_SAMPLERS = ("InfiniteSampler",)
_BATCHERS = (
    "BatchSampler",
    "AspectRatioBatchSampler",
    "TrackAspectRatioBatchSampler",
)

_IMAGENET_CLASSES = 1000

_SET_NUMBER = (
    "set num_samples (--num-samples, or num_samples of a recipe), the samples of an "
    "epoch including the repeats of a RepeatDataset"
)

# A wrapper whose number of samples depends on the annotations.
_BALANCED = "ClassBalancedDataset"

# Transforms that take one side and give squares.
_SQUARE = ("EfficientNetRandomCrop", "EfficientNetCenterCrop")

# The sides of most photographs.
_LONG, _SHORT = 4, 3


class SampleCount(NamedTuple):
    """Samples of a dataset in an epoch, and where the number is from."""

    number: int
    source: str


class EpochCount(NamedTuple):
    """What an epoch runs.

    Attributes:
        iterations: Iterations on each rank.
        batches: How many batches of each ``(height, width, batch_size)`` the first
            rank has.
        images: Number of images of each ``(height, width)``, over all ranks.
    """

    iterations: int
    batches: Mapping[Tuple[int, int, int], int]
    images: Mapping[Size, int]


class ConfigPlan(NamedTuple):
    """What a whole training runs.

    Attributes:
        epochs: One an epoch. Of a training by iterations: one for each stretch of
            ``val_interval`` iterations.
        by_epoch: Whether the training counts in epochs.
        samples: Samples of the dataset; ``None`` where they do not matter.
        world_size: Number of ranks.
        seed: Seed of the sampler.
        accumulative_counts: Iterations of an optimizer update.
        counted_as: The size that the images of a batch really have, by the batch's
            ``(height, width)``; another one where their ratio is kept.
        assumptions: What had to be assumed, in sentences.
    """

    epochs: List[EpochCount]
    by_epoch: bool
    samples: Optional[SampleCount]
    world_size: int
    seed: int
    accumulative_counts: int
    counted_as: Mapping[Size, Size]
    assumptions: List[str]

    @property
    def iterations(self) -> int:
        """Iterations of the training."""
        return sum(epoch.iterations for epoch in self.epochs)

    @property
    def optimizer_updates(self) -> int:
        """Updates of the weights; what is left over at the end makes one too."""
        return math.ceil(self.iterations / self.accumulative_counts)


def config_plan(
    config: Any,
    num_samples: Optional[int] = None,
    world_size: int = 1,
    base_size: Optional[Size] = None,
    counted_as: Optional[Size] = None,
) -> ConfigPlan:
    """Return the plan of a whole training from its config.

    With :class:`MultiScaleVariableBatchSampler` it is the plan that its training
    follows, if that has the same seed: ``randomness.seed``, else 0. Without it, every
    batch has the one size that the pipeline gives.

    Args:
        config: An MMEngine config, its default scope in use.
        num_samples: Samples that the dataset has. Defaults to those
            that :func:`count_samples` finds.
        world_size: Ranks. Defaults to 1.
        base_size: ``(height, width)`` of the batches of a config without the sampler.
            Defaults to what its pipeline says.
        counted_as: ``(height, width)`` of the images of these batches, where they keep
            their ratio. Defaults to ``base_size``.

    Raises:
        ValueError: The config trains nothing, or in a way that cannot be planned.
    """
    loader, loop = config.get("train_dataloader"), config.get("train_cfg")
    if not loader or not loop:
        raise ValueError(
            "the config must train, but it has no "
            + ("train_cfg" if loader else "train_dataloader")
        )
    by_epoch = _by_epoch(loop)
    length = loop.get("max_epochs" if by_epoch else "max_iters")
    if not isinstance(length, int) or length < 1:
        raise ValueError(
            f"train_cfg must have {'max_epochs' if by_epoch else 'max_iters'} of at "
            f"least 1, but got {length!r}"
        )
    sampler_config = loader.get("sampler") or {}
    kind = _name(sampler_config.get("type", "DefaultSampler"))
    endless = kind in _ENDLESS_SAMPLERS
    if not endless and kind not in _SHARING_SAMPLERS:
        raise ValueError(
            f"train_dataloader.sampler must be one of "
            f"{[*_SHARING_SAMPLERS, *_ENDLESS_SAMPLERS]} to be planned without data, "
            f"but got {kind}"
        )
    if endless and by_epoch:
        raise ValueError(
            f"{kind} has no end: train_cfg must count iterations (by_epoch=False, "
            "max_iters=...), but it counts epochs"
        )
    seed = sampler_config.get("seed")
    if seed is None:
        seed = (config.get("randomness") or {}).get("seed")
    seed = 0 if seed is None else int(seed)

    samples: Optional[SampleCount] = None
    if not endless:
        samples = _samples(loader, num_samples, world_size)
    ranks: List[Tuple[Any, int]] = [(_EndlessSampler(seed), world_size)]
    if samples is not None:
        if samples.number < world_size:
            raise ValueError(
                f"every rank needs a sample, but there are {samples.number} samples "
                f"for world_size={world_size}"
            )
        round_up = bool(sampler_config.get("round_up", True))
        ranks = _rank_samplers(samples.number, world_size, round_up, seed)

    assumptions: List[str] = []
    batch_config = loader.get("batch_sampler")
    if _is_ours(batch_config):
        if base_size is not None:
            raise ValueError(
                f"base_size={base_size} is for a config without "
                "MultiScaleVariableBatchSampler; this one has it"
            )
        curriculum = curriculum_of(config)
        if batch_config.get("group_by_aspect_ratio"):
            assumptions.append(
                "all images have the same orientation; with landscape and portrait "
                "images, the last batches of an epoch differ"
            )
        drawn = [
            (_multi_scale_plans(loader, sampler, loop, by_epoch, curriculum), count)
            for sampler, count in ranks
        ]
    else:
        if batch_config is not None and _name(batch_config["type"]) not in _BATCHERS:
            raise ValueError(
                f"train_dataloader.batch_sampler must be "
                f"MultiScaleVariableBatchSampler or one of {list(_BATCHERS)} to be "
                f"planned without data, but got {_name(batch_config['type'])}"
            )
        size, counted = base_size, counted_as or base_size
        if size is None or counted is None:
            try:
                size, counted, assumed = _fixed_size(config, loader)
            except ValueError as error:
                raise ValueError(f"{error}; set base_size (--base-size)") from error
            assumptions += [assumed] if assumed else []
        images_of = {size: counted}
        drawn = [
            (_fixed_plans(loader, sampler, loop, by_epoch, size), count)
            for sampler, count in ranks
        ]
    epochs = [_count(plans, drawn) for plans in zip(*(plans for plans, _ in drawn))]
    if _is_ours(batch_config):
        sizes = sorted({size for epoch in epochs for size in epoch.images})
        images_of = {size: counted_size(config, size) for size in sizes}
        if _keeps_ratio(loader):
            assumptions.append(
                f"images keep their ratio, {_LONG}:{_SHORT}, within the size of their "
                "batch"
            )
    wrapper = config.get("optim_wrapper") or {}
    return ConfigPlan(
        epochs=epochs,
        by_epoch=by_epoch,
        samples=samples,
        world_size=world_size,
        seed=seed,
        accumulative_counts=int(wrapper.get("accumulative_counts", 1)),
        counted_as=images_of,
        assumptions=assumptions,
    )


def is_multi_scale(config: Any) -> bool:
    """Return whether a config trains with :class:`MultiScaleVariableBatchSampler`."""
    return _is_ours((config.get("train_dataloader") or {}).get("batch_sampler"))


def fixed_size(config: Any) -> Tuple[Size, Size]:
    """Return the size of the batches of a config without the sampler.

    Returns:
        ``(height, width)`` that its pipeline sets, and that of the images, another
        one where their ratio is kept.

    Raises:
        ValueError: Its pipeline gives several, or none that is known.
    """
    size, counted, _ = _fixed_size(config, config.get("train_dataloader") or {})
    return size, counted


def counted_size(config: Any, size: Size) -> Size:
    """Return the size of a batch's images, which may keep their own aspect ratio.

    Args:
        config: With :class:`MultiScaleVariableBatchSampler`.
        size: ``(height, width)`` of the batch.
    """
    keeps = _keeps_ratio(config.get("train_dataloader") or {})
    return _photograph(size) if keeps else size


def _count(plans: Iterable[EpochPlan], drawn: List[Tuple[Any, int]]) -> EpochCount:
    first: Counter = Counter()
    images: Counter = Counter()
    for number, (plan, (_, ranks)) in enumerate(zip(plans, drawn)):
        batches = Counter(plan)
        if number == 0:
            first = batches
        for (height, width, batch_size), times in batches.items():
            images[height, width] += batch_size * times * ranks
    return EpochCount(sum(first.values()), dict(first), dict(images))


# ------------------------------------------------------------------- the samples


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
    kind = _name(dataset["type"])
    found = _count_kind(kind, dataset)
    indices = dataset.get("indices")
    if indices is not None:
        # A negative number of them: the last ones.
        number = abs(indices) if isinstance(indices, int) else len(indices)
        return SampleCount(number, "indices of the dataset")
    return found


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
            f"{_name(dataset['type'])} cannot be built from {path}: "
            f"{type(error).__name__}: {' '.join(message_lines(str(error)))}; correct "
            f"it, or {_SET_NUMBER}"
        ) from error


def _without_images(dataset: Mapping) -> Dict[str, Any]:
    """Return a dataset's config that only reads annotations, wrapped ones too."""
    changed: Dict[str, Any] = dict(dataset)
    if "lazy_init" in changed:
        changed["lazy_init"] = False
    if _name(dataset["type"]) == _BALANCED:
        changed["dataset"] = _without_images(dataset["dataset"])
    elif "pipeline" in changed:
        changed["pipeline"] = []
    return changed


def _path_of(dataset: Mapping) -> Optional[str]:
    """Return the annotations or the images of a dataset, if they are there."""
    if _name(dataset["type"]) == _BALANCED:
        return _path_of(dataset["dataset"])
    root = str(dataset.get("data_root") or "")
    annotations = str(dataset.get("ann_file") or "")
    inside = annotations or _prefix(dataset)
    path = osp.join(root, inside) if inside else root
    if _name(dataset["type"]) == "ImageNet" and not annotations:
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


def _samples(
    loader: Mapping, num_samples: Optional[int], world_size: int
) -> SampleCount:
    batches = loader.get("num_batch_per_epoch")
    if batches is not None:
        number = batches * loader["batch_size"] * world_size
        return SampleCount(number, "num_batch_per_epoch of the data loader")
    if num_samples is not None:
        if num_samples < 1:
            raise ValueError(f"num_samples={num_samples} must be at least 1")
        return SampleCount(num_samples, "given")
    if not isinstance(loader.get("dataset"), Mapping):
        raise ValueError(f"train_dataloader.dataset must be a config; {_SET_NUMBER}")
    return count_samples(loader["dataset"])


# ------------------------------------------------------------------ the samplers


class _AnySamples:
    """A number of samples, of which nothing else is known."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def get_data_info(self, index: int) -> Dict[str, int]:
        return dict(width=_LONG, height=_SHORT)


class _RankSampler:
    """The inner sampler of one rank, as the batch sampler sees it."""

    def __init__(
        self, samples: int, on_rank: int, world_size: int, round_up: bool, seed: int
    ) -> None:
        self.dataset = _AnySamples(samples)
        self.on_rank = on_rank
        self.world_size = world_size
        self.round_up = round_up
        self.seed = seed

    def __len__(self) -> int:
        return self.on_rank

    def __iter__(self) -> Iterator[int]:
        # Which they are does not matter.
        return iter(range(min(self.on_rank, len(self.dataset))))


class _EndlessSampler:
    """An inner sampler without an end."""

    def __init__(self, seed: int) -> None:
        self.dataset = _AnySamples(1)
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        while True:
            yield 0


def _rank_samplers(
    samples: int, world_size: int, round_up: bool, seed: int
) -> List[Tuple[_RankSampler, int]]:
    """Return the samplers that differ, rank 0's first, and the ranks of each."""
    most, rest = -(-samples // world_size), samples % world_size
    shares = [(most, world_size)]
    if not round_up and rest:
        shares = [(most, rest), (most - 1, world_size - rest)]
    return [
        (_RankSampler(samples, share, world_size, round_up, seed), ranks)
        for share, ranks in shares
    ]


def _multi_scale_plans(
    loader: Mapping,
    sampler: Any,
    loop: Mapping,
    by_epoch: bool,
    curriculum: Optional[ResolutionCurriculum],
) -> Iterator[EpochPlan]:
    batch_sampler = DATA_SAMPLERS.build(
        dict(loader["batch_sampler"]),
        default_args=dict(sampler=sampler, batch_size=loader["batch_size"]),
    )
    if by_epoch:
        epochs = loop["max_epochs"]
        if curriculum is not None:
            batch_sampler.set_curriculum(curriculum, max_epochs=epochs)
        for epoch in range(epochs):
            yield batch_sampler.plan(epoch)
        return
    if curriculum is not None:
        batch_sampler.set_curriculum(curriculum, max_iters=loop["max_iters"])
    for start, stop in _stretches(loop):
        yield batch_sampler.plan_iterations(start, stop)


def _fixed_plans(
    loader: Mapping, sampler: Any, loop: Mapping, by_epoch: bool, size: Size
) -> Iterator[EpochPlan]:
    batch_size = loader["batch_size"]
    epoch: EpochPlan = [(*size, batch_size)]
    if isinstance(sampler, _RankSampler):
        drop_last = (loader.get("batch_sampler") or loader).get("drop_last", False)
        epoch = fixed_size_plan(len(sampler), batch_size, size, drop_last)
        if not epoch:
            raise ValueError(
                f"drop_last=True leaves no batch of {batch_size} of the "
                f"{len(sampler)} samples of a rank"
            )
    if by_epoch:
        for _ in range(loop["max_epochs"]):
            yield epoch
        return
    for start, stop in _stretches(loop):
        # Whole epochs, and the ends of the first and the last.
        yield [epoch[number % len(epoch)] for number in range(start, stop)]


def _stretches(loop: Mapping) -> Iterator[Tuple[int, int]]:
    length = loop["max_iters"]
    interval = max(1, min(int(loop.get("val_interval", 1000)), length))
    for start in range(0, length, interval):
        yield start, min(start + interval, length)


# ------------------------------------------------------------------ the config


def _name(kind: Any) -> str:
    """Return the name of a type's class, without its library."""
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    return name.rpartition(".")[2]


def _by_epoch(loop: Mapping) -> bool:
    if "type" in loop:
        return _name(loop["type"]) != "IterBasedTrainLoop"
    return bool(loop.get("by_epoch", True))


def _is_ours(batch_sampler: Any) -> bool:
    if not isinstance(batch_sampler, Mapping):
        return False
    kind = batch_sampler["type"]
    found = DATA_SAMPLERS.get(kind) if isinstance(kind, str) else kind
    return isinstance(found, type) and issubclass(found, MultiScaleVariableBatchSampler)


def curriculum_of(config: Any) -> Optional[ResolutionCurriculum]:
    """Return the curriculum of the config's hook; ``None`` without one."""
    for hook in config.get("custom_hooks") or []:
        if isinstance(hook, ResolutionCurriculumHook):
            return hook.curriculum
        if not isinstance(hook, Mapping):
            continue
        kind = hook["type"]
        found = HOOKS.get(kind) if isinstance(kind, str) else kind
        if isinstance(found, type) and issubclass(found, ResolutionCurriculumHook):
            return HOOKS.build(dict(hook)).curriculum
    return None


def _pipeline(dataset: Any) -> List[Mapping]:
    """Return the transforms of a dataset and of the first that it wraps, in order."""
    if not isinstance(dataset, Mapping):
        return []
    inner = dataset.get("dataset")
    if inner is None and dataset.get("datasets"):
        inner = dataset["datasets"][0]
    return [*_pipeline(inner), *(dataset.get("pipeline") or [])]


def _keeps_ratio(loader: Mapping) -> bool:
    """Return whether images keep their ratio within the size of their batch."""
    return _ratio_kept_after(_pipeline(loader.get("dataset")), False)


def _ratio_kept_after(pipeline: Iterable[Mapping], keeps: bool) -> bool:
    """Return whether the last transform that sets a size keeps the ratio.

    In a random choice that of every branch.
    """
    for transform in pipeline:
        name = _name(transform["type"])
        ends = [_ratio_kept_after(part, keeps) for part in branches(name, transform)]
        if ends:
            keeps = all(ends)
        elif name == "MultiScaleTransform":
            # ResizeShortestEdge keeps it within scale and max_size.
            keeps = bool(transform["transform"].get("keep_ratio"))
            keeps |= "max_size" in (transform.get("size_arg") or ())
        elif name.startswith("MultiScale"):
            keeps = bool(transform.get("keep_ratio"))
        elif transform.get("pad_to_square"):  # YOLOX
            keeps = False
    return keeps


class _SetSize(NamedTuple):
    """The size that a part of a pipeline sets.

    Attributes:
        size: ``(height, width)``; ``None`` where it is not known.
        counted: That of the images, which may keep their ratio within the size.
        note: What was assumed, or why the size is not known.
    """

    size: Optional[Size]
    counted: Optional[Size]
    note: str


def _fixed_size(config: Any, loader: Mapping) -> Tuple[Size, Size, Optional[str]]:
    """Return the size that a pipeline sets, that of its images, and what was assumed.

    The images are smaller than the size if they keep their ratio within it.
    """
    found = _SetSize(None, None, "no transform of its pipeline sets one")
    found = _size_after_dataset(loader.get("dataset"), found)
    model = config.get("model")
    own = model.get("data_preprocessor") if isinstance(model, Mapping) else None
    preprocessor = own or config.get("data_preprocessor") or {}
    for augment in preprocessor.get("batch_augments") or []:
        if "Resize" in _name(augment["type"]):
            found = _several(_name(augment["type"]))
    if found.size is None or found.counted is None:
        raise ValueError(f"the size of the training images is not known: {found.note}")
    return found.size, found.counted, found.note or None


def _size_after_dataset(dataset: Any, found: _SetSize) -> _SetSize:
    """Return the size after the pipelines of a dataset and of those that it wraps."""
    if not isinstance(dataset, Mapping):
        return found
    parts = [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets")
    ends = [_size_after_dataset(part, found) for part in parts or ()]
    if ends:
        alike = all(end[:2] == ends[0][:2] for end in ends)
        found = ends[0] if alike else _several(_name(dataset["type"]))
    return _size_after(dataset.get("pipeline") or [], found)


def _size_after(pipeline: Iterable[Mapping], found: _SetSize) -> _SetSize:
    """Return the size after a pipeline, from that before it."""
    for transform in pipeline:
        name = _name(transform["type"])
        ends = [_size_after(branch, found) for branch in branches(name, transform)]
        if not ends:
            found = _size_set_by(transform, name, found)
        elif all(end[:2] == ends[0][:2] for end in ends):
            found = ends[0]
        else:
            found = _several(name)
    return found


def _several(name: str) -> _SetSize:
    return _SetSize(None, None, f"{name} gives more than one")


def _size_set_by(transform: Mapping, name: str, found: _SetSize) -> _SetSize:
    """Return the size after a transform, from that before it."""
    if name == "RandomChoiceResize":
        return _several(name)
    if transform.get("pad_to_square") and found.size is not None:  # YOLOX
        side = max(found.size)
        return _SetSize((side, side), (side, side), "")
    value, order = _size_of(transform)
    if value is None:
        return found
    keeps, longest, text = transform.get("keep_ratio"), transform.get("max_size"), ""
    if order in ("short", "long"):
        if not isinstance(value, int):
            return _several(name)
        size = _photograph_of_edge(value, order)
        if name == "ResizeShortestEdge" and isinstance(longest, int):
            size, keeps = (value, longest), True
        else:
            text = f"{name} sets the {order} edge only"
    else:
        value = (value, value) if isinstance(value, int) else tuple(value)
        if not all(isinstance(side, int) for side in value) or len(value) != 2:
            return _several(name)
        size = value if order == "hw" else value[::-1]
    counted = size
    if keeps:
        text = f"{name} keeps the ratio within {size[1]} x {size[0]}"
        counted = _photograph(size)
    if text:
        text = (
            f"{text}: counted at {counted[0]} x {counted[1]} (height x width), a "
            f"{_LONG}:{_SHORT} photograph; --base-size sets another"
        )
    return _SetSize(size, counted, text)


def _size_of(transform: Mapping) -> Tuple[Any, str]:
    """Return the value of the argument that takes a transform's size, and its order."""
    kind = transform["type"]
    with TRANSFORMS.switch_scope_and_registry(None) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise ValueError(
                f"the size of the training images is not known: the transform {kind} "
                "is not registered; import it by custom_imports"
            )
    try:
        known = MultiScaleTransform(transform)
    except ValueError:  # it takes none
        return None, ""
    values = [transform.get(argument) for argument in known.size_arg]
    if any(value is None for value in values):
        return None, ""
    value, order = values[0] if len(values) == 1 else tuple(values), known.order
    name = _name(kind)
    if name == "RandomAffine":  # its border adds to the size, mostly after a Mosaic
        return None, ""
    if name in _SQUARE:
        order = "hw"
    elif name == "ResizeEdge" and transform.get("edge") == "long":
        order = "long"
    elif name.startswith("torchvision/"):
        # One number is a square of its crops and the short edge of its Resize.
        if isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        if name == "torchvision/Resize" and isinstance(value, int):
            order = "short"
    return value, order


def _photograph(bounds: Size) -> Size:
    """Return the size of a photograph rescaled into ``(height, width)`` bounds."""
    factor = min(max(bounds) / _LONG, min(bounds) / _SHORT)
    sides = int(_SHORT * factor + 0.5), int(_LONG * factor + 0.5)
    return sides if bounds[0] <= bounds[1] else sides[::-1]


def _photograph_of_edge(edge: int, which: str) -> Size:
    if which == "short":
        return edge, int(edge * _LONG / _SHORT + 0.5)
    return int(edge * _SHORT / _LONG + 0.5), edge
