"""Plan a training from its config: no data, no runner, no other ranks."""

from __future__ import annotations

import math
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

from mmengine.registry import DATA_SAMPLERS, HOOKS

from ..hooks.multi_scale_sampler_hook import MultiScaleSamplerHook
from ..hooks.resolution_curriculum_hook import ResolutionCurriculumHook
from ..multi_scale.curriculum import ResolutionCurriculum
from ..multi_scale.multi_scale_variable_batch_sampler import (
    MultiScaleVariableBatchSampler,
)
from ..multi_scale.sizes import Size
from ..utils.config_types import batch_size_of, class_name, counts_iterations
from ..utils.validation import parse_int
from .epoch_plan import EpochPlan, fixed_size_plan, multi_scale_plans
from .sample_count import SampleCount, samples_of_epoch
from .training_size import PHOTOGRAPH, counted_size, fixed_size_with_note, keeps_ratio

__all__ = [
    "BY_ASPECT_RATIO",
    "PLAIN_BATCH_SAMPLERS",
    "ConfigPlan",
    "EpochCount",
    "config_plan",
    "curriculum_of",
    "has_sampler_hook",
    "is_multi_scale",
]

# Samplers that give each rank ceil(samples / ranks), or fewer with round_up=False.
_SHARING_SAMPLERS = (
    "DefaultSampler",
    "KeyedPermutationSampler",
    "SequentialSampler",
    "RepeatAugSampler",
    "ClassAwareSampler",
)
_ENDLESS_SAMPLERS = ("InfiniteSampler",)
# They have no end either, and fix the share of each source in a batch.
_SAMPLERS_OF_SOURCES = ("MultiSourceSampler", "GroupMultiSourceSampler")

BY_ASPECT_RATIO = ("AspectRatioBatchSampler", "TrackAspectRatioBatchSampler")
"""Batch samplers of mmdet that put images of similar aspect ratio in one batch."""

PLAIN_BATCH_SAMPLERS = ("BatchSampler", *BY_ASPECT_RATIO)
"""Batch samplers of torch and mmdet that make batches of one number of images."""


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
        """Updates of the weights, with a last one of fewer accumulated iterations."""
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
    loader, loop, by_epoch = _training_of(config)
    assumptions: List[str] = []
    seed, samples, ranks = _rank_samplers(
        config, loader, by_epoch, num_samples, world_size, assumptions
    )
    multi_scale = _is_ours(loader.get("batch_sampler"))
    images_of: Dict[Size, Size] = {}
    if multi_scale:
        if base_size is not None:
            raise ValueError(
                f"base_size={base_size} is for a config without "
                "MultiScaleVariableBatchSampler; this one has it"
            )
        if loader["batch_sampler"].get("group_by_aspect_ratio"):
            assumptions.append(
                "all images have the same orientation; with landscape and portrait "
                "images, the last batches of an epoch differ"
            )
        curriculum = curriculum_of(config)
        drawn = [
            (_multi_scale_plans(loader, sampler, loop, by_epoch, curriculum), count)
            for sampler, count in ranks
        ]
    else:
        size, counted = _fixed_size(config, loader, base_size, counted_as, assumptions)
        images_of[size] = counted
        drawn = [
            (_fixed_plans(loader, sampler, loop, by_epoch, size), count)
            for sampler, count in ranks
        ]
    epochs = [_count(plans, drawn) for plans in zip(*(plans for plans, _ in drawn))]
    if multi_scale:
        sizes = sorted({size for epoch in epochs for size in epoch.images})
        images_of = {size: counted_size(config, size) for size in sizes}
        if keeps_ratio(config):
            assumptions.append(
                "images keep their ratio, {}:{}, within the size of their batch".format(
                    *PHOTOGRAPH
                )
            )
    wrapper = config.get("optim_wrapper") or {}
    return ConfigPlan(
        epochs=epochs,
        by_epoch=by_epoch,
        samples=samples,
        world_size=world_size,
        seed=seed,
        accumulative_counts=parse_int(
            wrapper.get("accumulative_counts", 1), "optim_wrapper.accumulative_counts"
        ),
        counted_as=images_of,
        assumptions=assumptions,
    )


def _training_of(config: Any) -> Tuple[Mapping, Mapping, bool]:
    """Return data loader and loop, and whether the loop counts epochs."""
    loader, loop = config.get("train_dataloader"), config.get("train_cfg")
    if not loader or not loop:
        raise ValueError(
            "the config must train, but it has no "
            + ("train_cfg" if loader else "train_dataloader")
        )
    by_epoch = not counts_iterations(config)
    name = "max_epochs" if by_epoch else "max_iters"
    length = loop.get(name)
    if not isinstance(length, int) or length < 1:
        raise ValueError(
            f"train_cfg must have {name} of at least 1, but got {length!r}"
        )
    parse_int(loader.get("batch_size"), "train_dataloader.batch_size")
    return loader, loop, by_epoch


def is_multi_scale(config: Any) -> bool:
    """Return whether a config trains with :class:`MultiScaleVariableBatchSampler`."""
    return _is_ours((config.get("train_dataloader") or {}).get("batch_sampler"))


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


# ------------------------------------------------------------------ the samplers


class _AnySamples:
    """A number of samples, of which nothing else is known."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __len__(self) -> int:
        return self.number

    def get_data_info(self, index: int) -> Dict[str, int]:
        width, height = PHOTOGRAPH
        return dict(width=width, height=height)


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
    config: Any,
    loader: Mapping,
    by_epoch: bool,
    num_samples: Optional[int],
    world_size: int,
    assumptions: List[str],
) -> Tuple[int, Optional[SampleCount], List[Tuple[Any, int]]]:
    """Return seed, samples, and the samplers that differ with their ranks.

    Rank 0's sampler is first. The samples of a sampler without an end do not matter.
    """
    sampler = loader.get("sampler") or {}
    if not sampler and (world_size > 1 or loader.get("batch_sampler") is not None):
        raise ValueError(
            "train_dataloader must have a sampler, such as dict(type='DefaultSampler', "
            "shuffle=True): without one every rank trains on all images, and a batch "
            "sampler does not run"
        )
    kind = class_name(sampler.get("type", "DefaultSampler"))
    endless = kind in _ENDLESS_SAMPLERS
    if not endless and kind not in _SHARING_SAMPLERS:
        if num_samples is None or kind in _SAMPLERS_OF_SOURCES:
            raise ValueError(
                f"train_dataloader.sampler must be one of "
                f"{[*_SHARING_SAMPLERS, *_ENDLESS_SAMPLERS]} to be planned without "
                f"data, but got {kind}; for a sampler of your own set num_samples=N "
                "(--num-samples): the ranks are then assumed to share N samples per "
                "epoch"
            )
        assumptions.append(f"{kind} shares {num_samples} samples per epoch among ranks")
    if endless and by_epoch:
        raise ValueError(
            f"{kind} has no end: train_cfg must count iterations (by_epoch=False, "
            "max_iters=...), but it counts epochs"
        )
    seed = sampler.get("seed")
    if seed is None:
        seed = (config.get("randomness") or {}).get("seed")
    seed = 0 if seed is None else int(seed)
    fixed = f"{kind} has no end" if endless else None
    if not endless and loader.get("num_batch_per_epoch") is not None:
        fixed = "num_batch_per_epoch sets the number"
    if fixed and num_samples is not None:
        assumptions.append(f"num_samples={num_samples} has no effect: {fixed}")
    if endless:
        return seed, None, [(_EndlessSampler(seed), world_size)]
    samples = samples_of_epoch(loader, num_samples, world_size)
    if samples.number < world_size:
        raise ValueError(
            f"every rank needs a sample, but there are {samples.number} samples "
            f"for world_size={world_size}"
        )
    round_up = bool(sampler.get("round_up", True))
    most, rest = -(-samples.number // world_size), samples.number % world_size
    shares = [(most, world_size)]
    if not round_up and rest:
        shares = [(most, rest), (most - 1, world_size - rest)]
    ranks: List[Tuple[Any, int]] = [
        (_RankSampler(samples.number, share, world_size, round_up, seed), count)
        for share, count in shares
    ]
    return seed, samples, ranks


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
        yield from multi_scale_plans(batch_sampler, loop["max_epochs"], curriculum)
        return
    if curriculum is not None:
        batch_sampler.set_curriculum(curriculum, max_iters=loop["max_iters"])
    for start, stop in _stretches(loop):
        yield batch_sampler.plan_iterations(start, stop)


def _fixed_size(
    config: Any,
    loader: Mapping,
    base_size: Optional[Size],
    counted_as: Optional[Size],
    assumptions: List[str],
) -> Tuple[Size, Size]:
    """Return the size of all batches, and the one that their images have."""
    batch_sampler = loader.get("batch_sampler")
    if batch_sampler is not None and "type" not in batch_sampler:
        raise ValueError(
            f"train_dataloader.batch_sampler must have a type, but got "
            f"{dict(batch_sampler)} (--cfg-options apply to a --baseline too)"
        )
    kind = (
        "BatchSampler" if batch_sampler is None else class_name(batch_sampler["type"])
    )
    if kind not in PLAIN_BATCH_SAMPLERS:
        raise ValueError(
            f"train_dataloader.batch_sampler must be "
            f"MultiScaleVariableBatchSampler or one of {[*PLAIN_BATCH_SAMPLERS]} "
            f"to be planned without data, but got {kind}"
        )
    if base_size is not None:
        return base_size, counted_as or base_size
    try:
        size, counted, assumed = fixed_size_with_note(config)
    except ValueError as error:
        raise ValueError(f"{error}; set base_size (--base-size)") from error
    assumptions += [assumed] if assumed else []
    return size, counted


def _fixed_plans(
    loader: Mapping, sampler: Any, loop: Mapping, by_epoch: bool, size: Size
) -> Iterator[EpochPlan]:
    batch_size = batch_size_of(loader)
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


def _is_ours(batch_sampler: Any) -> bool:
    if not isinstance(batch_sampler, Mapping) or "type" not in batch_sampler:
        return False
    kind = batch_sampler["type"]
    found = DATA_SAMPLERS.get(kind) if isinstance(kind, str) else kind
    return isinstance(found, type) and issubclass(found, MultiScaleVariableBatchSampler)


def curriculum_of(config: Any) -> Optional[ResolutionCurriculum]:
    """Return the curriculum of the config's hook; ``None`` without one."""
    for hook in config.get("custom_hooks") or []:
        if issubclass(_class_of(hook), ResolutionCurriculumHook):
            built = HOOKS.build(dict(hook)) if isinstance(hook, Mapping) else hook
            return built.curriculum
    return None


def has_sampler_hook(config: Any) -> bool:
    """Return whether a config has :class:`MultiScaleSamplerHook` or a subclass."""
    hooks = [
        *(config.get("custom_hooks") or []),
        *(config.get("default_hooks") or {}).values(),
    ]
    return any(issubclass(_class_of(hook), MultiScaleSamplerHook) for hook in hooks)


def _class_of(hook: Any) -> type:
    """Return the class of a hook, built or not; ``object`` if it is not known."""
    kind = hook.get("type") if isinstance(hook, Mapping) else type(hook)
    found = HOOKS.get(kind) if isinstance(kind, str) else kind
    return found if isinstance(found, type) else object
