"""The epochs of a training: how many iterations they have, and what is in each.

:mod:`plan` plans one epoch from numbers alone. Here these numbers are found: how far
the training is when an epoch begins, how many images there is room for, what sizes are
owed from the epochs before, and how a rank's own images fill the batches that all ranks
have planned.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np

from .aspect_groups import EpochGroups, group_epoch
from .epoch_rest import EpochRest, used_on_rank
from .inner_sampler import (
    pads_shares,
    rank_and_world_size,
    samples_over_ranks,
    total_samples,
)
from .plan import (
    Plan,
    count_iterations,
    cut_batches,
    epoch_generator,
    plan_epoch,
    share_iterations,
)
from .sizes import Size, SizeDistribution
from .training_settings import TrainingSettings

# How often a curriculum within the epoch looks up its sizes in one epoch, at most.
LOOKS_PER_EPOCH = 256


@dataclass(eq=False)
class EpochPlanner:
    """Plans any epoch of a training, on its own and the same on every rank.

    A pure function of its attributes: these are never changed, a training in other
    settings has another planner (:func:`dataclasses.replace`). What was planned is
    kept for it alone.

    Epochs count from 0, and iterations from 0 over the training. An epoch that was
    begun in other settings (``rest``) has fewer batches in its plan than iterations in
    the count: positions in the plan begin after :meth:`gap` iterations.

    Attributes:
        settings: Of the training.
        indices_of: Gives this rank's indices of an epoch, shape ``(samples,)``. Asked
            only where they are grouped by aspect ratio.
        rest: The epoch that was begun in other settings, and what it used.
        first_epoch: ``(epoch, iteration)``: where today's count begins. Before it,
            epochs count as equally long.
    """

    settings: TrainingSettings
    indices_of: Callable[[int], np.ndarray] = field(repr=False)
    rest: EpochRest = EpochRest(0, 0)
    first_epoch: Tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self._starts = [self.first_epoch[1]]  # of the epochs from the first on
        self._owed: Dict[int, np.ndarray] = {}
        # One epoch is walked while the next is planned.
        self._planned = lru_cache(maxsize=2)(self._plan_rank)
        self._drawn_in = lru_cache(maxsize=2)(self._collect_sizes)
        self._length = lru_cache(maxsize=None)(self._count_epoch)

    def __getstate__(self) -> Dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    # Counting

    def length(self, epoch: int) -> int:
        """Iterations of an epoch, those before its rest among them."""
        return self._length(epoch)

    def iterations_before(self, epoch: int) -> int:
        """Iterations of all epochs before ``epoch``."""
        first, start = self.first_epoch
        if epoch < first:
            return start * epoch // first
        if self._equally_long:
            return start + (epoch - first) * self._length(first)
        while len(self._starts) <= epoch - first:
            last = first + len(self._starts) - 1
            self._starts.append(self._starts[-1] + self._length(last))
        return self._starts[epoch - first]

    def epoch_of(self, iteration: int) -> int:
        """The epoch that an iteration counted over the training lies in."""
        epoch, start = self.first_epoch
        if self._equally_long:
            return max(0, epoch + (iteration - start) // self._length(epoch))
        # Asked in every iteration: not by a walk over the epochs.
        while self._starts[-1] <= iteration:
            self.iterations_before(epoch + len(self._starts))
        return epoch + max(0, bisect_right(self._starts, iteration) - 1)

    def used_before(self, epoch: int) -> int:
        """Images of an epoch, of all ranks, that its plan leaves out as used."""
        return self.rest.images if epoch == self.rest.epoch else 0

    def gap(self, epoch: int) -> int:
        """Iterations that count for the part of an epoch that was done otherwise."""
        if not self.used_before(epoch):
            return 0
        return self._length(epoch) - len(self.plan(epoch))

    @property
    def _equally_long(self) -> bool:
        return self.settings.schedule.curriculum is None and not self.rest.images

    def _count_epoch(self, epoch: int) -> int:
        natural = self._count_whole(epoch)
        if self.used_before(epoch):
            return max(natural, len(self.plan(epoch)))
        return natural

    def _count_whole(self, epoch: int) -> int:
        """Iterations of an epoch from its beginning; planned only where it must be."""
        room = self.settings.room()
        if self._looks(room) > 1:
            return len(self.shared_plan(epoch))
        distribution = self._distribution(epoch)
        return count_iterations(room, distribution, self.settings.drop_last)

    # What may be drawn

    def sizes_of(self, epoch: int) -> Tuple[Size, ...]:
        """The resolutions drawn from in an epoch, all of it."""
        return self._drawn_in(epoch)

    def _collect_sizes(self, epoch: int) -> Tuple[Size, ...]:
        looks = self._looks(self.settings.room())
        drawn: Dict[Size, None] = {}  # in the order in which they come
        for look in range(looks):
            distribution = self._distribution(epoch, look / looks)
            drawn.update(dict.fromkeys(distribution.sizes))
        return tuple(drawn)

    def epoch_fractions(self) -> List[float]:
        """Return the fractions of the training, 0 to 1, at which its epochs begin."""
        max_epochs, max_iters = self.settings.max_epochs, self.settings.max_iters
        if max_epochs is None:
            max_epochs = 1 if max_iters is None else self.epoch_of(max_iters - 1) + 1
        return [self._fraction(epoch, 0.0) for epoch in range(max_epochs)]

    def lookups(self) -> int:
        """Return at how many points of an epoch its sizes are looked up."""
        return self._looks(self.settings.room())

    def _looks(self, room: int) -> int:
        """At how many points of an epoch its sizes are looked up."""
        curriculum = self.settings.schedule.curriculum
        if curriculum is None or curriculum.by_epoch:
            return 1
        return max(1, min(LOOKS_PER_EPOCH, room))

    def _distribution(self, epoch: int, part: float = 0.0) -> SizeDistribution:
        return self.settings.schedule.distribution(self._fraction(epoch, part))

    def _fraction(self, epoch: int, part: float) -> float:
        """Fraction of the training, 0 to 1, after ``part`` of an epoch, 0 to 1."""
        max_epochs, max_iters = self.settings.max_epochs, self.settings.max_iters
        if max_epochs is not None:
            return min((epoch + part) / max_epochs, 1.0)
        if max_iters is None:
            return 1.0
        before: float = self.iterations_before(epoch)
        if part > 0:
            # The epoch's length depends on the draws: estimate it from the initial
            # sizes.
            distribution = self.settings.schedule.distribution(before / max_iters)
            samples = len(self.settings.inner_sampler)
            before += part * samples / distribution.mean_batch_size
        return min(before / max_iters, 1.0)

    # Planning

    def shared_plan(self, epoch: int, used: int = 0) -> Plan:
        """The plan of an epoch as all ranks have it: not yet cut to a rank's images.

        Args:
            epoch: Number of the epoch.
            used: Its first images, of all ranks, that are left out as used before.

        Raises:
            ValueError: Some rank would have an empty batch in what is left.
        """
        settings = self.settings
        room = settings.room(used)
        looks = self._looks(room)
        passed = used / total_samples(settings.inner_sampler)
        plan = plan_epoch(
            room,
            lambda part: self._distribution(epoch, passed + (1.0 - passed) * part),
            epoch_generator(settings.seed, epoch, used),
            drop_last=settings.drop_last,
            looks=looks,
            owed=self._owed_before(epoch) if looks == 1 and not used else None,
        )
        most, fewest = samples_over_ranks(settings.inner_sampler, used)
        if used and not settings.drop_last and len(plan) > fewest:
            raise ValueError(
                f"the remaining {len(plan)} batches of epoch {epoch} must each have an "
                f"image for every rank, but some ranks have {most} images left and "
                f"some {fewest}; set round_up=True of the sampler, or resume from a "
                "checkpoint of an epoch's end"
            )
        return plan

    def plan(self, epoch: int) -> Plan:
        """The plan of an epoch, or of its rest, with this rank's batch sizes."""
        return self._planned(epoch)[0]

    def groups(self, epoch: int) -> Optional[EpochGroups]:
        """This rank's images of an epoch by aspect ratio; ``None``: not grouped."""
        return self._planned(epoch)[1]

    def plan_iterations(self, start: int, stop: int) -> List[Tuple[int, int, int]]:
        """``(height, width, batch_size)`` of iterations counted over the training.

        Args:
            start: First iteration.
            stop: The iteration after the last.
        """
        planned: List[Tuple[int, int, int]] = []
        epoch = self.epoch_of(start)
        first = self.iterations_before(epoch)
        while first < stop:
            length = self._length(epoch)
            if first + length > start:
                begin = first + self.gap(epoch)
                batches = self.plan(epoch).to_list()
                planned += batches[max(start - begin, 0) : max(stop - begin, 0)]
            first += length
            epoch += 1
        return planned

    def _plan_rank(self, epoch: int) -> Tuple[Plan, Optional[EpochGroups]]:
        settings = self.settings
        plan = self.shared_plan(epoch, self.used_before(epoch))
        if settings.landscape is not None:
            indices = self.indices_of(epoch)
            return group_epoch(plan, indices, settings.landscape, settings.drop_last)
        planned = int(plan.batch_sizes.sum())
        own = self._own_samples(epoch)
        if settings.drop_last or planned == own:
            return plan, None
        # A rank with one sample fewer keeps in step: its last batch is smaller.
        cut = cut_batches(plan.batch_sizes, planned - own)
        return replace(plan, batch_sizes=cut), None

    def _own_samples(self, epoch: int) -> int:
        """Images of this rank in an epoch, or in what is left of it."""
        inner = self.settings.inner_sampler
        used = self.used_before(epoch)
        if not used:
            return len(inner)
        if pads_shares(inner):
            return samples_over_ranks(inner, used)[0]
        return len(inner) - used_on_rank(used, *rank_and_world_size(inner))

    def _owed_before(self, epoch: int) -> Optional[np.ndarray]:
        """Iterations that sizes are owed by the epochs before with the same sizes.

        Shape ``(sizes,)``; ``None``: no such epoch. Their shares alone are drawn again,
        not their order, so that a late epoch is soon planned without those before it.
        """
        distribution = self._distribution(epoch)
        first = epoch
        while (
            first > 0
            and first not in self._owed
            and self._distribution(first - 1) == distribution
        ):
            first -= 1
        for earlier in range(first, epoch):
            self._owed[earlier + 1] = share_iterations(
                self.settings.room(),
                distribution,
                epoch_generator(self.settings.seed, earlier),
                self.settings.drop_last,
                self._owed.get(earlier),
            )[1]
        return self._owed.get(epoch)
