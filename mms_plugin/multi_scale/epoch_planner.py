"""The epochs of a training: how many iterations they have, and what is in each.

:mod:`plan` plans one epoch from numbers only. Here these numbers are found: how far
the training is when an epoch begins, how many images the epoch has, what a size
lacks from earlier epochs, and how a rank's own images fill the batches that all
ranks have planned.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np

from .aspect_groups import EpochGroups, group_epoch
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
LOOKUPS_PER_EPOCH = 256


class StartedEpoch(NamedTuple):
    """An epoch of which a part was done in other settings.

    Attributes:
        epoch: Number of the epoch.
        images: How many of its images were used before, by all ranks together.
        iterations: How many iterations these count as. ``None``: as many as the whole
            epoch has more than its rest.
    """

    epoch: int
    images: int
    iterations: Optional[int] = None


@dataclass(eq=False)
class EpochPlanner:
    """Plan any epoch of a training, the same on every rank.

    A pure function of its attributes: these never change, a training in other settings
    has another planner (:func:`dataclasses.replace`). Plans are cached in it.

    Epochs count from 0, and iterations from 0 over the training. An epoch that was
    started in other settings has fewer batches in its plan than iterations in the
    count: positions in its plan begin after :meth:`iterations_done_elsewhere`.

    Attributes:
        settings: Of the training.
        indices_of: Gives this rank's indices of an epoch, shape ``(samples,)``. Called
            only where images are grouped by aspect ratio.
        started: The epoch that was started in other settings.
        first_epoch: ``(epoch, iteration)`` where the count in the current settings
            begins. Before it, epochs count as equally long.
    """

    settings: TrainingSettings
    indices_of: Callable[[int], np.ndarray] = field(repr=False)
    started: StartedEpoch = StartedEpoch(0, 0)
    first_epoch: Tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self._starts = [self.first_epoch[1]]  # of the epochs from the first on
        self._deficits: Dict[int, np.ndarray] = {}
        # One epoch is walked while the next is planned.
        self._shared = lru_cache(maxsize=2)(self._plan_for_all)
        self.planned = lru_cache(maxsize=2)(self._plan_for_rank)
        self.sizes_of = lru_cache(maxsize=2)(self._collect_sizes)
        self.length = lru_cache(maxsize=None)(self._count_iterations)

    def __getstate__(self) -> Dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __setstate__(self, state: Dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__post_init__()

    # Counting

    def iterations_before(self, epoch: int) -> int:
        """Return the iterations of all epochs before ``epoch``."""
        first, start = self.first_epoch
        if epoch < first:
            return start * epoch // first
        if self._equally_long:
            return start + (epoch - first) * self.length(first)
        while len(self._starts) <= epoch - first:
            last = first + len(self._starts) - 1
            self._starts.append(self._starts[-1] + self.length(last))
        return self._starts[epoch - first]

    def epoch_of(self, iteration: int) -> int:
        """Return the epoch that an iteration counted over the training lies in."""
        epoch, start = self.first_epoch
        if self._equally_long:
            return max(0, epoch + (iteration - start) // self.length(epoch))
        # Asked in every iteration: not by a walk over the epochs.
        while self._starts[-1] <= iteration:
            self.iterations_before(epoch + len(self._starts))
        return epoch + max(0, bisect_right(self._starts, iteration) - 1)

    def used_before(self, epoch: int) -> int:
        """Return the images of an epoch, of all ranks, that were used elsewhere."""
        return self.started.images if epoch == self.started.epoch else 0

    def iterations_done_elsewhere(self, epoch: int) -> int:
        """Return the iterations that count for the images used in other settings."""
        if not self.used_before(epoch):
            return 0
        if self.started.iterations is not None:
            return self.started.iterations
        return self.length(epoch) - len(self.plan(epoch))

    @property
    def _equally_long(self) -> bool:
        return (
            self.settings.growing_sizes.curriculum is None and not self.started.images
        )

    def _count_iterations(self, epoch: int) -> int:
        """Count the iterations of an epoch, including those done elsewhere."""
        if self.used_before(epoch) and self.started.iterations is not None:
            return self.started.iterations + len(self.plan(epoch))
        capacity = self.settings.capacity()
        if self.lookups(capacity) > 1:
            whole = len(self.shared_plan(epoch))
        else:  # without planning it
            distribution = self.distribution(epoch)
            whole = count_iterations(capacity, distribution, self.settings.drop_last)
        return max(whole, len(self.plan(epoch))) if self.used_before(epoch) else whole

    # What may be drawn

    def distribution(self, epoch: int, part: float = 0.0) -> SizeDistribution:
        """Return what is drawn from after ``part`` of an epoch, 0 to 1."""
        return self.settings.growing_sizes.distribution(self.fraction(epoch, part))

    def fraction(self, epoch: int, part: float = 0.0) -> float:
        """Return the fraction of the training, 0 to 1, after ``part`` of an epoch."""
        max_epochs, max_iters = self.settings.max_epochs, self.settings.max_iters
        if max_epochs is not None:
            return min((epoch + part) / max_epochs, 1.0)
        if max_iters is None:
            return 1.0
        before: float = self.iterations_before(epoch)
        if part > 0:
            # The epoch's length depends on the draws: estimate it from the initial
            # sizes.
            initial = self.settings.growing_sizes.distribution(before / max_iters)
            # Not by this rank's own share: all ranks draw the same sizes.
            before += part * self.settings.shares.left()[0] / initial.mean_batch_size
        return min(before / max_iters, 1.0)

    def epoch_fractions(self) -> List[float]:
        """Return the fractions of the training, 0 to 1, at which its epochs begin."""
        max_epochs, max_iters = self.settings.max_epochs, self.settings.max_iters
        if max_epochs is None:
            max_epochs = 1 if max_iters is None else self.epoch_of(max_iters - 1) + 1
        return [self.fraction(epoch) for epoch in range(max_epochs)]

    def _collect_sizes(self, epoch: int) -> Tuple[Size, ...]:
        """Collect the sizes that are drawn from in an epoch, in order."""
        lookups = self.lookups()
        drawn: Dict[Size, None] = {}
        for lookup in range(lookups):
            distribution = self.distribution(epoch, lookup / lookups)
            drawn.update(dict.fromkeys(distribution.sizes))
        return tuple(drawn)

    def lookups(self, capacity: Optional[int] = None) -> int:
        """Return at how many points of an epoch its sizes are looked up.

        Args:
            capacity: Images per rank that are planned. Defaults to a whole epoch.
        """
        if capacity is None:
            capacity = self.settings.capacity()
        curriculum = self.settings.growing_sizes.curriculum
        if curriculum is None or curriculum.by_epoch:
            return 1
        return max(1, min(LOOKUPS_PER_EPOCH, capacity))

    # Planning

    def shared_batch_size(self, epoch: int, position: int) -> int:
        """Return the images of a batch that every rank has planned for.

        Args:
            epoch: Number of the epoch.
            position: Iteration within it.
        """
        plan = self.shared_plan(epoch, self.used_before(epoch))
        return plan.at(position - self.iterations_done_elsewhere(epoch))[2]

    def shared_plan(self, epoch: int, used: int = 0) -> Plan:
        """Return the plan of an epoch that all ranks share.

        Its batch sizes are not yet cut to the images of a rank.

        Args:
            epoch: Number of the epoch.
            used: Its first images, of all ranks, that were used before and are left
                out.

        Raises:
            ValueError: Some rank would have an empty batch in the rest of the epoch.
        """
        return self._shared(epoch, used)

    def _plan_for_all(self, epoch: int, used: int) -> Plan:
        settings = self.settings
        capacity = settings.capacity(used)
        lookups = self.lookups(capacity)
        passed = used / settings.shares.total if self.lookups() > 1 else 0.0
        plan = plan_epoch(
            capacity,
            lambda part: self.distribution(epoch, passed + (1.0 - passed) * part),
            epoch_generator(settings.seed, epoch, used),
            drop_last=settings.drop_last,
            lookups=lookups,
            deficit=self._deficit_before(epoch) if lookups == 1 and not used else None,
        )
        most, fewest = settings.shares.left(used)
        if used and not settings.drop_last and len(plan) > fewest:
            raise ValueError(
                f"each of the {len(plan)} remaining batches of epoch {epoch} must "
                f"have an image for every rank, but some ranks have {most} images "
                f"left and some {fewest}; set round_up=True of the sampler, or "
                "resume from a checkpoint of an epoch's end"
            )
        if not used and not 0 < len(plan) <= fewest:
            # Where sizes grow within the epoch only the plan shows it.
            remedy = "drop_last=False and round_up=True of the sampler"
            if settings.landscape is not None:
                remedy = f"group_by_aspect_ratio=False, {remedy}"
            raise ValueError(
                f"epoch {epoch} must have a batch, and an image for every rank in each "
                f"of its batches, but has {len(plan)} batches and at least {fewest} "
                f"images per rank; lower batch_size, or set {remedy}"
            )
        return plan

    def plan(self, epoch: int) -> Plan:
        """Return the plan of an epoch, or of its rest, for this rank."""
        return self.planned(epoch)[0]

    def plan_iterations(self, start: int, stop: int) -> List[Tuple[int, int, int]]:
        """Return ``(height, width, batch_size)`` of iterations over the training.

        Args:
            start: First iteration.
            stop: The iteration after the last.
        """
        planned: List[Tuple[int, int, int]] = []
        epoch = self.epoch_of(start)
        first = self.iterations_before(epoch)
        while first < stop:
            length = self.length(epoch)
            if first + length > start:
                begin = first + self.iterations_done_elsewhere(epoch)
                batches = self.plan(epoch).to_list()
                planned += batches[max(start - begin, 0) : max(stop - begin, 0)]
            first += length
            epoch += 1
        return planned

    def _plan_for_rank(self, epoch: int) -> Tuple[Plan, Optional[EpochGroups]]:
        """Cut the shared plan to this rank's images, grouped where that is wanted."""
        settings = self.settings
        used = self.used_before(epoch)
        plan = self.shared_plan(epoch, used)
        if settings.landscape is not None:
            indices = self.indices_of(epoch)
            return group_epoch(plan, indices, settings.landscape, settings.drop_last)
        # A rank with one sample fewer keeps in step: its last batch is smaller.
        surplus = int(plan.batch_sizes.sum()) - settings.shares.left_here(used)
        if settings.drop_last or not surplus:
            return plan, None
        return replace(plan, batch_sizes=cut_batches(plan.batch_sizes, surplus)), None

    def _deficit_before(self, epoch: int) -> Optional[np.ndarray]:
        """Return the iterations that sizes lack from epochs with the same sizes.

        Shape ``(sizes,)``; ``None``: there is no such epoch. Only the shares of earlier
        epochs are drawn again, not their order, so that a late epoch is planned soon.
        """
        distribution = self.distribution(epoch)
        first = epoch
        while (
            first > 0
            and first not in self._deficits
            and self.distribution(first - 1) == distribution
        ):
            first -= 1
        for earlier in range(first, epoch):
            self._deficits[earlier + 1] = share_iterations(
                self.settings.capacity(),
                distribution,
                epoch_generator(self.settings.seed, earlier),
                self.settings.drop_last,
                self._deficits.get(earlier),
            )[1]
        return self._deficits.get(epoch)
