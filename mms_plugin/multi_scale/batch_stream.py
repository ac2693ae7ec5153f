"""Batches from a sampler without an end: iterations, but no epochs."""

from __future__ import annotations

import itertools
import math
from typing import Iterable, Iterator, List, Tuple

import numpy as np

from .aspect_groups import GroupedStream
from .inner_sampler import RewindableIndices
from .plan import STREAM_BLOCK, Plan, plan_stream
from .shares import used_on_rank
from .sized_index import SizedIndex, sized_batch
from .sizes import SizeDistribution
from .training_settings import TrainingSettings


class BatchStream:
    """The batches of an endless inner sampler, and how far they have been given.

    The size of an iteration is a pure function of the settings. Its images are not:
    the inner sampler continues from where it is.

    Args:
        settings: Of the training.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self._indices = RewindableIndices(settings.inner_sampler)
        self._start = (0, 0)
        self.iteration = 0

    @property
    def settings(self) -> TrainingSettings:
        """Settings of the training; setting others changes the sizes from here on."""
        return self._settings

    @settings.setter
    def settings(self, settings: TrainingSettings) -> None:
        if settings.inner_sampler is not self._settings.inner_sampler:
            self._indices = RewindableIndices(settings.inner_sampler)
        self._settings = settings

    @property
    def can_rewind(self) -> bool:
        """Whether iterating starts from the first batch, not after the last given."""
        return self._indices.can_rewind

    @property
    def start(self) -> Tuple[int, int]:
        """``(iteration, images)`` that the stream starts after, images of all ranks."""
        return self._start

    def start_at(self, iteration: int, images: int) -> None:
        """Skip what an interrupted training has consumed.

        Only where :attr:`can_rewind` holds.

        Args:
            iteration: The first iteration to come.
            images: Images of all ranks before it.
        """
        shares = self._settings.shares
        self._start = (iteration, images)
        self.iteration = iteration
        if self._settings.landscape is None:
            self._indices.skip(used_on_rank(images, shares.rank, shares.world_size))

    def fraction(self, iteration: int) -> float:
        """Return the fraction of the training, 0 to 1, before an iteration."""
        if self._settings.max_iters is None:
            return 1.0
        return min(iteration / self._settings.max_iters, 1.0)

    def plan(self, start: int, stop: int) -> Plan:
        """Return the plan of iterations ``start`` to ``stop``, without ``stop``."""

        def distribution_at(iteration: int) -> SizeDistribution:
            return self._settings.growing_sizes.distribution(self.fraction(iteration))

        return plan_stream(start, stop, distribution_at, self._settings.seed)

    def images_between(self, start: int, stop: int) -> int:
        """Return the images of all ranks in iterations ``start`` to ``stop``."""
        images = int(self.plan(start, stop).batch_sizes.sum())
        return self._settings.shares.world_size * images

    def batches_of_a_pass(self) -> int:
        """Return about how many batches one pass over the dataset has."""
        mean = self._settings.growing_sizes.distribution(1.0).mean_batch_size
        return max(1, math.ceil(self._settings.num_samples / mean))

    def __iter__(self) -> Iterator[List[SizedIndex]]:
        # Each iterator counts for itself: one that is begun and left behind on a rank
        # must not change the sizes that follow there.
        rewinds = self._indices.can_rewind
        iteration = self._start[0] if rewinds else self.iteration
        indices = iter(self._indices)
        grouped = None
        if self._settings.landscape is not None:
            grouped = GroupedStream(indices, self._settings.landscape)
            # Queued images depend on all earlier batches.
            before = iteration if rewinds else 0
            for size in self.plan(0, before).batch_sizes.tolist():
                grouped.take(size)
        planned, plan = iteration, Plan((), np.empty(0), np.empty(0))
        while True:
            if iteration >= planned + len(plan):
                planned = iteration
                plan = self.plan(planned, planned + STREAM_BLOCK)
            height, width, batch_size = plan.at(iteration - planned)
            taken: Iterable[int] = itertools.islice(indices, batch_size)
            if grouped is not None:
                taken = grouped.take(batch_size)
            seed = self._settings.seed_on_rank(iteration)
            batch = sized_batch(taken, (height, width), seed)
            if not batch:
                return
            iteration += 1
            self.iteration = iteration
            yield batch
