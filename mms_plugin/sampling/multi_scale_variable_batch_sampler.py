"""The batch sampler: one resolution a batch, as many images as its pixels allow."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import lru_cache
from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.dist import sync_random_seed
from mmengine.registry import DATA_SAMPLERS

from .curriculum import ResolutionCurriculum, grown_sizes
from .plan import (
    STREAM_BLOCK,
    Plan,
    count_iterations,
    cut_batches,
    epoch_generator,
    plan_epoch,
    plan_stream,
)
from .sized_index import SizedIndex, sized_index_class
from .sizes import (
    Size,
    SizeDistribution,
    parse_batch_sizes,
    parse_int,
    parse_size,
    parse_sizes,
    parse_weights,
    pixel_budget_batch_size,
)

# How often a curriculum within the epoch looks up its sizes in one epoch, at most.
LOOKS_PER_EPOCH = 256

# Of an endless stream: how many iterations from its start it can begin anew.
KEPT_ITERATIONS = 1024

# They have a length and never end. By name: they are mmdet's, or come without a base.
_ENDLESS_SAMPLERS = {
    "InfiniteSampler",
    "MultiSourceSampler",
    "GroupMultiSourceSampler",
}


class _EpochSampler:
    """The inner sampler as MMEngine sees it: an epoch set here reaches both.

    MMEngine announces an epoch to ``batch_sampler.sampler`` alone.
    """

    def __init__(self, batch_sampler: MultiScaleVariableBatchSampler) -> None:
        self._batch_sampler = batch_sampler

    def set_epoch(self, epoch: int) -> None:
        self._batch_sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        return iter(self._batch_sampler.inner_sampler)

    def __len__(self) -> int:
        return len(self._batch_sampler.inner_sampler)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._batch_sampler.inner_sampler, name)


@DATA_SAMPLERS.register_module()
class MultiScaleVariableBatchSampler:
    r"""Batches of one resolution each, drawn anew for every iteration (MSc-VBS).

    At each iteration one resolution :math:`(H_t, W_t)` is drawn from ``sizes``, the
    same on every rank, and the batch has
    :math:`\max(1, \lfloor B H W / (H_t W_t) \rfloor)` images, so that an iteration
    costs about the same at every resolution. An epoch gives each index of the inner
    sampler exactly once; its last batch is cut to what is left.

    The draws depend on the seed and the epoch alone, not on any global generator, and
    need no communication. Without a curriculum every epoch has as many iterations as
    every other. The iterations of an epoch share out among the sizes by ``weights`` as
    evenly as they can be; their order is random.

    It yields lists of :class:`SizedIndex`; wrap the data set in
    :class:`MultiScaleDataset` to get the size into the pipeline.

    Source: arXiv 2309.04502, section 3; arXiv 2110.02178 (MobileViT), section 3.3.

    Args:
        sampler: The inner sampler: gives the indices of this rank. Built by MMEngine
            from ``train_dataloader.sampler``.
        batch_size: Images per rank at ``base_size``. Given by MMEngine from
            ``train_dataloader.batch_size``.
        base_size: Side in pixels, or ``(height, width)``, whose pixels times
            ``batch_size`` are the budget of a batch. ``None``: the largest of
            ``sizes``.
        sizes: Resolutions, sides in pixels or ``(height, width)``, or a range
            ``dict(min=128, max=320, num=7, divisor=32)``. ``None``: ``base_size``
            alone, the fixed-size baseline (SSc-FBS).
        weights: Relative frequency of each size, by iterations. Defaults to uniform.
        batch_sizes: Images per rank at each size, in place of the pixel budget.
        variable_batch: ``False`` gives every size ``batch_size`` images (MSc-FBS).
        drop_last: Leave out the images that do not fill a last batch. The sizes are
            then chosen so that these are few: fewer than one batch.
        seed: Seed of the draws, the same on every rank. Defaults to the inner
            sampler's, else to one shared through MMEngine.

    Raises:
        ValueError: An argument that cannot be; see the message.
    """

    def __init__(
        self,
        sampler: Any,
        batch_size: int,
        base_size: Any = None,
        sizes: Any = None,
        weights: Optional[Sequence[float]] = None,
        batch_sizes: Optional[Sequence[int]] = None,
        variable_batch: bool = True,
        drop_last: bool = False,
        seed: Optional[int] = None,
    ) -> None:
        self.batch_size = parse_int(batch_size, "batch_size")
        if sizes is None and base_size is None:
            raise ValueError(
                "sizes must be given, such as [128, 160, 192], but is None"
            )
        if sizes is None:
            sizes = [base_size]
        self.sizes: Tuple[Size, ...] = parse_sizes(sizes)
        if base_size is None:
            base_size = max(self.sizes, key=lambda size: size[0] * size[1])
        self.base_size: Size = parse_size(base_size, "base_size")
        self.weights = parse_weights(weights, len(self.sizes))
        table = parse_batch_sizes(batch_sizes, len(self.sizes))
        if table is not None and not variable_batch:
            raise ValueError(
                "batch_sizes must be left out with variable_batch=False, which gives "
                f"every size batch_size={batch_size} images, but got {batch_sizes!r}"
            )
        self.variable_batch = bool(variable_batch)
        self.batch_sizes: Tuple[int, ...] = table or tuple(
            pixel_budget_batch_size(self.batch_size, self.base_size, size)
            if variable_batch
            else self.batch_size
            for size in self.sizes
        )
        self._has_table = table is not None
        self.drop_last = bool(drop_last)
        self.inner_sampler = sampler
        self.sampler = _EpochSampler(self)
        self.endless = _is_endless(sampler)
        _check_dataset(getattr(sampler, "dataset", None))
        if seed is None:
            seed = getattr(sampler, "seed", None)
        if seed is None:
            seed = sync_random_seed()
        self.seed = parse_int(seed, "seed", minimum=0)
        self.epoch = 0
        self.curriculum: Optional[ResolutionCurriculum] = None
        self.max_epochs: Optional[int] = None
        self.max_iters: Optional[int] = None
        self._start_sizes: Tuple[Size, ...] = ()
        self._stream: Optional[Iterator[int]] = None
        self._first_drawn: Optional[List[int]] = []
        self._iteration = 0
        self._forget_plans()
        if not self.endless:
            self._check_epoch_is_not_empty(self._distribution(1.0))

    # What is drawn from

    def set_curriculum(
        self,
        curriculum: ResolutionCurriculum,
        max_epochs: Optional[int] = None,
        max_iters: Optional[int] = None,
    ) -> None:
        """Let the sizes grow over a training.

        Args:
            curriculum: How they grow.
            max_epochs: Epochs of the whole training, of which the curriculum's
                fractions are; or
            max_iters: its iterations, where the training is counted in these.
        """
        if (max_epochs is None) == (max_iters is None):
            raise ValueError(
                "one of max_epochs and max_iters must be given, but got "
                f"max_epochs={max_epochs!r}, max_iters={max_iters!r}"
            )
        if self.endless and max_iters is None:
            raise ValueError(
                f"max_iters must be given: {type(self.inner_sampler).__name__} has no "
                f"end, so there are no epochs to count, but got max_epochs={max_epochs}"
            )
        for name, value in (("max_epochs", max_epochs), ("max_iters", max_iters)):
            if value is not None:
                parse_int(value, name)
        start_sizes = curriculum.resolve_start_sizes(self.sizes)
        unlisted = [size for size in start_sizes if size not in self.sizes]
        if unlisted and self._has_table:
            raise ValueError(
                "start_sizes must be among the sizes that have an entry in "
                f"batch_sizes, but got {unlisted[0]}"
            )
        self.curriculum = curriculum
        self.max_epochs, self.max_iters = max_epochs, max_iters
        self._start_sizes = start_sizes
        self._forget_plans()
        if not self.endless:
            self._check_epoch_is_not_empty(self._distribution(0.0))

    def sizes_at(self, fraction: float) -> Tuple[Size, ...]:
        """The resolutions drawn from after a fraction of the training, 0 to 1."""
        return self._distribution(fraction).sizes

    def _distribution(self, fraction: float) -> SizeDistribution:
        if self.curriculum is None:
            return self._distribution_of(self.sizes)
        growth = self.curriculum.growth(fraction)
        return self._distribution_of(
            grown_sizes(self._drawn_sizes(), self._start_sizes, growth)
        )

    def _drawn_sizes(self) -> Tuple[Size, ...]:
        return tuple(s for s, w in zip(self.sizes, self.weights) if w > 0)

    def _distribution_of(self, sizes: Tuple[Size, ...]) -> SizeDistribution:
        if sizes in self._distributions:
            return self._distributions[sizes]
        positive = [w for w in self.weights if w > 0]
        chosen: List[Tuple[Size, int, float]] = []
        for size in sizes:
            if size in self.sizes:
                position = self.sizes.index(size)
                batch_size, weight = self.batch_sizes[position], self.weights[position]
            else:
                batch_size = (
                    pixel_budget_batch_size(self.batch_size, self.base_size, size)
                    if self.variable_batch
                    else self.batch_size
                )
                weight = sum(positive) / len(positive)
            if weight > 0:
                chosen.append((size, batch_size, weight))
        if not chosen:
            raise ValueError(
                f"start_sizes must hold a size whose weight is not 0, but got {sizes}"
            )
        distribution = SizeDistribution(*(tuple(column) for column in zip(*chosen)))
        self._distributions[sizes] = distribution
        return distribution

    # The plan

    def set_epoch(self, epoch: int) -> None:
        """Go to an epoch, the inner sampler with it."""
        self.epoch = parse_int(epoch, "epoch", minimum=0)
        if hasattr(self.inner_sampler, "set_epoch"):
            self.inner_sampler.set_epoch(epoch)

    def plan(self, epoch: int) -> List[Tuple[int, int, int]]:
        """``(height, width, batch_size)`` of every batch of this rank in an epoch.

        A pure function of the seed, the epoch, the curriculum and the number of
        samples; sizes and length are those of every rank.

        Raises:
            ValueError: The inner sampler has no end; ask :meth:`plan_iterations`.
        """
        return self._plan(parse_int(epoch, "epoch", minimum=0)).to_list()

    def plan_iterations(self, start: int, stop: int) -> List[Tuple[int, int, int]]:
        """``(height, width, batch_size)`` of iterations counted over the training.

        Args:
            start: First iteration, from 0 on, over all epochs.
            stop: The iteration after the last.
        """
        parse_int(start, "start", minimum=0)
        if self.endless:
            return plan_stream(
                start, stop, self._distribution_of_iteration, self.seed
            ).to_list()
        planned: List[Tuple[int, int, int]] = []
        epoch = self._epoch_of(start)
        first = self.iterations_before(epoch)
        while first < stop:
            length = self._length(epoch)
            if first + length > start:
                planned += self.plan(epoch)[max(start - first, 0) : stop - first]
            first += length
            epoch += 1
        return planned

    def batch_at(self, epoch: int, position: int) -> Tuple[int, int, int]:
        """``(height, width, batch_size)`` of one batch of an epoch."""
        return self._plan(epoch).at(position)

    def batch_at_iteration(self, iteration: int) -> Tuple[int, int, int]:
        """``(height, width, batch_size)`` of an iteration counted over the training."""
        if self.endless:
            return self.plan_iterations(iteration, iteration + 1)[0]
        epoch = self._epoch_of(iteration)
        return self.batch_at(epoch, iteration - self.iterations_before(epoch))

    def total_batches(self, max_epochs: int) -> int:
        """The exact number of iterations of a training of ``max_epochs`` epochs."""
        return self.iterations_before(parse_int(max_epochs, "max_epochs", minimum=0))

    def iterations_before(self, epoch: int) -> int:
        """Iterations of all epochs before ``epoch``."""
        self._require_epochs()
        if self.curriculum is None:
            return epoch * self._length(0)
        while len(self._epoch_starts) <= epoch:
            last = len(self._epoch_starts) - 1
            self._epoch_starts.append(self._epoch_starts[-1] + self._length(last))
        return self._epoch_starts[epoch]

    def __len__(self) -> int:
        """Batches of the current epoch.

        Where the inner sampler has no end: of one pass over the data set, about, as
        MMEngine's own batch samplers say it.
        """
        if self.endless:
            mean = self._distribution(1.0).mean_batch_size
            return max(1, math.ceil(len(self.inner_sampler) / mean))
        return self._length(self.epoch)

    def __iter__(self) -> Iterator[List[SizedIndex]]:
        if self.endless:
            yield from self._iterate_stream()
            return
        indices = iter(self.inner_sampler)
        plan = self._plan(self.epoch)
        classes = [sized_index_class(size) for size in plan.sizes]
        for choice, batch_size in zip(plan.choices.tolist(), plan.batch_sizes.tolist()):
            batch = list(map(classes[choice], itertools.islice(indices, batch_size)))
            if len(batch) < batch_size:
                raise ValueError(
                    f"sampler must give as many indices as its length says, "
                    f"{len(self.inner_sampler)}, but "
                    f"{type(self.inner_sampler).__name__} ended before"
                )
            yield batch

    def _iterate_stream(self) -> Iterator[List[SizedIndex]]:
        # An endless sampler cannot be iterated anew (MMEngine's holds one generator),
        # and a loop's workers draw ahead before a curriculum is set: what was drawn
        # first is kept, so that the training still begins with iteration 0.
        if self._stream is None:
            self._stream = iter(self.inner_sampler)
        indices = self._stream
        if self._first_drawn is not None:
            self._iteration = 0
            indices = itertools.chain(list(self._first_drawn), indices)
        kept = len(self._first_drawn or ())
        taken = 0
        planned, plan = self._iteration, Plan((), np.empty(0), np.empty(0))
        while True:
            if self._iteration >= planned + len(plan):
                planned = self._iteration
                plan = plan_stream(
                    planned,
                    planned + STREAM_BLOCK,
                    self._distribution_of_iteration,
                    self.seed,
                )
            height, width, batch_size = plan.at(self._iteration - planned)
            index_class = sized_index_class((height, width))
            batch = list(map(index_class, itertools.islice(indices, batch_size)))
            if not batch:
                return
            taken += len(batch)
            self._iteration += 1
            if self._first_drawn is not None and taken > kept:
                self._first_drawn += map(int, batch[kept - taken :])
                kept = taken
                if self._iteration >= KEPT_ITERATIONS:
                    self._first_drawn = None
            yield batch

    def _distribution_of_iteration(self, iteration: int) -> SizeDistribution:
        if self.max_iters is None:
            return self._distribution(1.0)
        return self._distribution(min(iteration / self.max_iters, 1.0))

    def _require_epochs(self) -> None:
        if self.endless:
            raise ValueError(
                f"sampler must have an end to be planned by epoch, but got "
                f"{type(self.inner_sampler).__name__}; ask plan_iterations(start, stop)"
            )

    def _forget_plans(self) -> None:
        self._distributions: dict = {}
        self._epoch_starts = [0]
        # One epoch is walked while the next is planned.
        self._cached_plan = lru_cache(maxsize=2)(self._make_plan)
        self._length = lru_cache(maxsize=None)(self._count_epoch)

    def __getstate__(self) -> dict:
        dropped = ("_cached_plan", "_length")
        return {k: v for k, v in self.__dict__.items() if k not in dropped}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._forget_plans()

    def _plan(self, epoch: int) -> Plan:
        self._require_epochs()
        return self._cached_plan(epoch, len(self.inner_sampler))

    def _make_plan(self, epoch: int, num_samples: int) -> Plan:
        most, fewest = _samples_over_ranks(self.inner_sampler, num_samples)
        planned = fewest if self.drop_last else most
        plan = plan_epoch(
            planned,
            lambda part: self._distribution(self._fraction(epoch, part)),
            epoch_generator(self.seed, epoch),
            drop_last=self.drop_last,
            looks=self._looks(planned),
        )
        if self.drop_last or num_samples == planned:
            return plan
        # A rank with one sample fewer keeps in step: its last batch is smaller.
        return replace(plan, batch_sizes=cut_batches(plan.batch_sizes, 1))

    def _count_epoch(self, epoch: int) -> int:
        """Iterations of an epoch; planned only where counting is not enough."""
        num_samples = len(self.inner_sampler)
        most, fewest = _samples_over_ranks(self.inner_sampler, num_samples)
        planned = fewest if self.drop_last else most
        if self._looks(planned) > 1:
            return len(self._plan(epoch))
        distribution = self._distribution(self._fraction(epoch, 0.0))
        return count_iterations(planned, distribution, self.drop_last)

    def _looks(self, num_samples: int) -> int:
        if self.curriculum is None or self.curriculum.by_epoch:
            return 1
        return max(1, min(LOOKS_PER_EPOCH, num_samples))

    def _fraction(self, epoch: int, part: float) -> float:
        """Fraction of the training after ``part`` of an epoch."""
        if self.curriculum is None:
            return 1.0
        if self.max_epochs is not None:
            return min((epoch + part) / self.max_epochs, 1.0)
        assert self.max_iters is not None
        before: float = self.iterations_before(epoch)
        if part > 0:
            # The epoch's length hangs on what is drawn: take it by its first sizes.
            distribution = self._distribution(before / self.max_iters)
            before += part * len(self.inner_sampler) / distribution.mean_batch_size
        return min(before / self.max_iters, 1.0)

    def _epoch_of(self, iteration: int) -> int:
        if self.curriculum is None:
            return iteration // max(self._length(0), 1)
        epoch = 0
        while self.iterations_before(epoch + 1) <= iteration:
            epoch += 1
        return epoch

    def _check_epoch_is_not_empty(self, distribution: SizeDistribution) -> None:
        num_samples = len(self.inner_sampler)
        most, fewest = _samples_over_ranks(self.inner_sampler, num_samples)
        if most == 0:
            raise ValueError(
                "sampler must give at least one index, but its length is 0"
            )
        if self.drop_last and not count_iterations(fewest, distribution, True):
            raise ValueError(
                f"drop_last=True needs a data set of at least one batch per rank, "
                f"{math.ceil(distribution.mean_batch_size)} images on average over "
                f"the sizes, but got {fewest}; lower batch_size or set drop_last=False"
            )
        if most > fewest and not self.drop_last and max(distribution.batch_sizes) == 1:
            raise ValueError(
                f"sampler must give every rank as many indices when batches hold one "
                f"image, but some ranks have {most} and some {fewest}; set "
                "round_up=True of the sampler"
            )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(batch_size={self.batch_size}, "
            f"base_size={self.base_size}, sizes={list(self.sizes)}, "
            f"batch_sizes={list(self.batch_sizes)}, weights={list(self.weights)}, "
            f"drop_last={self.drop_last}, seed={self.seed})"
        )


def _is_endless(sampler: Any) -> bool:
    if not hasattr(sampler, "__len__"):
        return True
    return any(base.__name__ in _ENDLESS_SAMPLERS for base in type(sampler).__mro__)


def _samples_over_ranks(sampler: Any, num_samples: int) -> Tuple[int, int]:
    """Most and fewest samples that any rank has, without asking the others."""
    world_size = getattr(sampler, "world_size", 1)
    dataset = getattr(sampler, "dataset", None)
    if getattr(sampler, "round_up", True) or world_size == 1 or dataset is None:
        return num_samples, num_samples
    return -(-len(dataset) // world_size), len(dataset) // world_size


def _check_dataset(dataset: Any) -> None:
    """Refuse a data set of MMEngine that would lose the batch's size."""
    from ..datasets import MultiScaleDataset

    while hasattr(dataset, "_dataset"):  # MMEngine's num_batch_per_epoch
        dataset = dataset._dataset
    if isinstance(dataset, MultiScaleDataset):
        return
    name = type(dataset).__name__
    inner = list(_nested_datasets(dataset))
    if any(isinstance(d, MultiScaleDataset) for d in inner):
        raise ValueError(
            f"dataset must be a MultiScaleDataset on the outside, but got it inside "
            f"{name}: write dataset=dict(type='MultiScaleDataset', "
            f"dataset=dict(type='{name}', ...))"
        )
    if any(isinstance(d, BaseDataset) for d in inner):
        raise ValueError(
            f"dataset must be wrapped for its pipeline to learn the size of the batch, "
            f"but got {name}: write dataset=dict(type='MultiScaleDataset', "
            f"dataset=dict(type='{name}', ...))"
        )


def _nested_datasets(dataset: Any) -> Iterator[Any]:
    yield dataset
    inner = getattr(dataset, "datasets", None)
    if not isinstance(inner, (list, tuple)):
        inner = [getattr(dataset, "dataset", None)]
    for nested in inner:
        if nested is not None:
            yield from _nested_datasets(nested)
