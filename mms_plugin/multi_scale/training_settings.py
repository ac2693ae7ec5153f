"""What all batches of a training hang on, but for where it stands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional, Tuple

import numpy as np

from .aspect_groups import spare_room
from .curriculum import ResolutionCurriculum
from .inner_sampler import is_endless, samples_over_ranks
from .plan import count_iterations
from .size_schedule import SizeSchedule
from .sizes import Size


@dataclass(frozen=True, eq=False)
class TrainingSettings:
    """The settings of a training; to change one, :func:`dataclasses.replace` them.

    Attributes:
        inner_sampler: Gives the indices of this rank.
        schedule: Sizes with their batch sizes and weights, and how they grow.
        seed: Of the draws, the same on every rank.
        drop_last: Leave out the images that do not fill a last batch.
        landscape: Shape ``(samples,)``, ``bool``: which images are at least as wide
            as high, where portraits and landscapes must not share a batch. ``None``:
            they may.
        max_epochs: Epochs of the training that a curriculum grows over, or
        max_iters: its iterations. ``None``, both: there is no curriculum.
    """

    inner_sampler: Any
    schedule: SizeSchedule
    seed: int
    drop_last: bool
    landscape: Optional[np.ndarray] = None
    max_epochs: Optional[int] = None
    max_iters: Optional[int] = None

    @property
    def num_samples(self) -> int:
        """Samples of the data set; of this rank, if the sampler does not name it."""
        dataset = getattr(self.inner_sampler, "dataset", None)
        return len(self.inner_sampler if dataset is None else dataset)

    def room(self, used: int = 0) -> int:
        """Images per rank that an epoch is planned for, the same on every rank.

        Args:
            used: Images of the epoch, of all ranks, that were used before.
        """
        most, fewest = samples_over_ranks(self.inner_sampler, used)
        spare = 0
        if self.landscape is not None:
            spare = spare_room(self.schedule.largest_batch)
        return max(fewest - spare, 0) if self.drop_last else most + spare


class ReadsSettings:
    """What a batch sampler shows of its settings, to read alone."""

    _settings: TrainingSettings

    @property
    def inner_sampler(self) -> Any:
        """The sampler that gives the indices of this rank."""
        return self._settings.inner_sampler

    @property
    def schedule(self) -> SizeSchedule:
        """What is drawn from after any fraction of the training."""
        return self._settings.schedule

    @property
    def seed(self) -> int:
        """Seed of the draws, the same on every rank."""
        return self._settings.seed

    @property
    def drop_last(self) -> bool:
        """Whether images that do not fill a last batch are left out."""
        return self._settings.drop_last

    @property
    def landscape(self) -> Optional[np.ndarray]:
        """Which images of the data set are at least as wide as high.

        Shape ``(samples,)``, ``bool``; no batch has images of both kinds. ``None``:
        without ``group_by_aspect_ratio``.
        """
        return self._settings.landscape

    @property
    def max_epochs(self) -> Optional[int]:
        """Epochs that the curriculum grows over; ``None``: see :attr:`max_iters`."""
        return self._settings.max_epochs

    @property
    def max_iters(self) -> Optional[int]:
        """Iterations that the curriculum grows over, where these are counted."""
        return self._settings.max_iters

    @property
    def batch_size(self) -> int:
        """Images per rank at the base size."""
        return self.schedule.batch_size

    @property
    def base_size(self) -> Size:
        """``(height, width)`` in pixels, whose batch sets the budget of every batch."""
        return self.schedule.base_size

    @property
    def sizes(self) -> Tuple[Size, ...]:
        """The resolutions, ``(height, width)`` in pixels, in the order given."""
        return self.schedule.sizes

    @property
    def batch_sizes(self) -> Tuple[int, ...]:
        """Images of a full batch at each of ``sizes``, per rank."""
        return self.schedule.batch_sizes

    @property
    def curriculum(self) -> Optional[ResolutionCurriculum]:
        """How the sizes grow; ``None``: not at all."""
        return self.schedule.curriculum


def check_can_fill_an_epoch(settings: TrainingSettings) -> None:
    """Refuse settings in which some rank would have no batch, or an empty one."""
    inner = settings.inner_sampler
    endless = is_endless(inner)
    if endless:
        # Of no images MMEngine's would look for the first index for ever.
        most = fewest = getattr(inner, "__len__", lambda: 1)()
    else:
        most, fewest = samples_over_ranks(inner)
    if most == 0:
        raise ValueError("sampler must give at least one index, but its length is 0")
    if endless:
        return
    for distribution in settings.schedule.distributions():
        iterations = count_iterations(settings.room(), distribution, settings.drop_last)
        if not iterations:
            raise ValueError(
                f"drop_last=True needs a dataset of at least one batch per rank, "
                f"{math.ceil(distribution.mean_batch_size)} images on average over "
                f"the sizes, but got {fewest}; lower batch_size or set "
                "drop_last=False"
            )
        if iterations > fewest and settings.landscape is not None:
            raise ValueError(
                f"group_by_aspect_ratio=True needs at least {iterations} images "
                f"per rank, one for each batch of the epoch, but got {fewest}; "
                "lower batch_size or set group_by_aspect_ratio=False"
            )
        if iterations > fewest and not settings.drop_last:
            raise ValueError(
                f"sampler must give every rank an image for each batch of an epoch, "
                f"{iterations} in these settings, but gives some ranks {most} and some "
                f"{fewest}; set round_up=True of the sampler"
            )
