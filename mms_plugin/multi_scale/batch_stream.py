"""Batches from a sampler without an end: no epochs, iterations alone."""

from __future__ import annotations

import itertools
import math
from typing import Iterable, Iterator, List, Tuple

import numpy as np

from ..utils.random_state import mixed_seed
from .aspect_groups import GroupedStream
from .epoch_rest import used_on_rank
from .inner_sampler import EndlessStream, rank_and_world_size
from .plan import STREAM_BLOCK, Plan, plan_stream
from .sized_index import SizedIndex, sized_batch
from .sizes import SizeDistribution
from .training_settings import TrainingSettings


class BatchStream:
    """The batches of an endless inner sampler, and how far they have been given.

    What an iteration draws is a pure function of the settings. Which images it gets is
    not: the inner sampler goes on from where it is.

    Args:
        settings: Of the training.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self._indices = EndlessStream(settings.inner_sampler)
        self._start = (0, 0)
        self._iteration = 0

    @property
    def settings(self) -> TrainingSettings:
        """Of the training. With others, the sizes are theirs from here on."""
        return self._settings

    @settings.setter
    def settings(self, settings: TrainingSettings) -> None:
        if settings.inner_sampler is not self._settings.inner_sampler:
            self._indices = EndlessStream(settings.inner_sampler)
        self._settings = settings

    @property
    def begins_anew(self) -> bool:
        """Whether iterating starts from the first batch, not from the last given."""
        return self._indices.begins_anew

    @property
    def start(self) -> Tuple[int, int]:
        """``(iteration, images)`` that the stream starts after, images of all ranks."""
        return self._start

    def start_at(self, iteration: int, images: int) -> None:
        """Leave out what an interrupted training was given; :attr:`begins_anew` only.

        Args:
            iteration: The first iteration to come.
            images: Images of all ranks before it.
        """
        rank, world_size = rank_and_world_size(self._settings.inner_sampler)
        self._start = (iteration, images)
        self._iteration = iteration
        if self._settings.landscape is None:
            self._indices.skip(used_on_rank(images, rank, world_size))

    def fraction(self, iteration: int) -> float:
        """Fraction of the training, 0 to 1, before an iteration."""
        if self._settings.max_iters is None:
            return 1.0
        return min(iteration / self._settings.max_iters, 1.0)

    def plan(self, start: int, stop: int) -> Plan:
        """The plan of iterations ``start`` to ``stop``, the latter not among them."""

        def distribution_at(iteration: int) -> SizeDistribution:
            return self._settings.schedule.distribution(self.fraction(iteration))

        return plan_stream(start, stop, distribution_at, self._settings.seed)

    def images_between(self, start: int, stop: int) -> int:
        """Images of all ranks in iterations ``start`` to ``stop``."""
        _, world_size = rank_and_world_size(self._settings.inner_sampler)
        return world_size * int(self.plan(start, stop).batch_sizes.sum())

    def batches_of_a_pass(self) -> int:
        """Batches of one pass over the data set, about."""
        mean = self._settings.schedule.distribution(1.0).mean_batch_size
        return max(1, math.ceil(len(self._settings.inner_sampler) / mean))

    def __iter__(self) -> Iterator[List[SizedIndex]]:
        if self._indices.begins_anew:
            self._iteration = self._start[0]
        indices = iter(self._indices)
        grouped = None
        if self._settings.landscape is not None:
            grouped = GroupedStream(indices, self._settings.landscape)
            # Queued images depend on all earlier batches.
            before = self._iteration if self._indices.begins_anew else 0
            for size in self.plan(0, before).batch_sizes.tolist():
                grouped.take(size)
        planned, plan = self._iteration, Plan((), np.empty(0), np.empty(0))
        while True:
            if self._iteration >= planned + len(plan):
                planned = self._iteration
                plan = self.plan(planned, planned + STREAM_BLOCK)
            height, width, batch_size = plan.at(self._iteration - planned)
            taken: Iterable[int] = itertools.islice(indices, batch_size)
            if grouped is not None:
                taken = grouped.take(batch_size)
            seed = mixed_seed(self._settings.seed, self._iteration)
            batch = sized_batch(taken, (height, width), seed)
            if not batch:
                return
            self._iteration += 1
            yield batch
