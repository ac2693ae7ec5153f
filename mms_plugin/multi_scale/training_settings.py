"""Everything that the batches of a training depend on, except its progress."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from ..utils.random_state import mixed_seed
from .aspect_groups import spare_images
from .growing_sizes import GrowingSizes
from .inner_sampler import check_shares_of_sources, is_endless, shares_of
from .plan import count_iterations
from .shares import Shares


@dataclass(frozen=True, eq=False)
class TrainingSettings:
    """The settings of a training; :func:`dataclasses.replace` changes one of them.

    Attributes:
        inner_sampler: Gives the indices of this rank.
        growing_sizes: Sizes with their batch sizes and weights, and how they grow.
        seed: Seed of the draws, the same on every rank.
        drop_last: Leave out the images that do not fill a last batch.
        landscape: Shape ``(samples,)``, ``bool``: which images are at least as wide
            as high, where portrait and landscape images must not share a batch.
            ``None``: they may.
        max_epochs: Epochs that a curriculum grows over.
        max_iters: Iterations that it grows over. With a curriculum one of the two is
            set, without one none.
    """

    inner_sampler: Any
    growing_sizes: GrowingSizes
    seed: int
    drop_last: bool
    landscape: Optional[np.ndarray] = None
    max_epochs: Optional[int] = None
    max_iters: Optional[int] = None

    @property
    def shares(self) -> Shares:
        """The samples of an epoch on this rank and on all ranks."""
        return shares_of(self.inner_sampler)

    @property
    def num_samples(self) -> int:
        """Samples of the dataset; of this rank, if the sampler does not name it."""
        dataset = getattr(self.inner_sampler, "dataset", None)
        return len(self.inner_sampler if dataset is None else dataset)

    def seed_on_rank(self, *place: int) -> int:
        """Return the seed of a place in the training, another one on every rank.

        An image that several ranks have at the same place is augmented anew on each.
        """
        seed = mixed_seed(self.seed, *place)
        rank = self.shares.rank
        return mixed_seed(rank, begin=seed) if rank else seed

    def capacity(self, used: int = 0) -> int:
        """Return the images per rank that an epoch is planned for, on every rank.

        Args:
            used: Images of the epoch, of all ranks, that were used before.
        """
        most, fewest = self.shares.left(used)
        return max(fewest - self.spare, 0) if self.drop_last else most + self.spare

    @property
    def spare(self) -> int:
        """Images per rank by which a plan with aspect ratios differs from the share."""
        if self.landscape is None:
            return 0
        return spare_images(self.growing_sizes.largest_batch)


def check_inner_sampler(settings: TrainingSettings) -> None:
    """Refuse an inner sampler that cannot fill the batches of every rank.

    Raises:
        ValueError: A rank would have no batch or an empty one, or the batches would
            cut those of a sampler of several sources.
    """
    inner = settings.inner_sampler
    if is_endless(inner):
        # Without images MMEngine's sampler would look for the first index for ever.
        if getattr(inner, "__len__", lambda: 1)() == 0:
            raise ValueError(_NO_INDEX)
        drawn = settings.growing_sizes.distributions()
        check_shares_of_sources(
            inner, [size for each in drawn for size in each.batch_sizes]
        )
        return
    most, fewest = settings.shares.left()
    if most == 0:
        raise ValueError(_NO_INDEX)
    for distribution in settings.growing_sizes.distributions(settings.max_epochs or 1):
        iterations = count_iterations(
            settings.capacity(), distribution, settings.drop_last
        )
        if not iterations:
            images = math.ceil(distribution.mean_batch_size)
            needed = f"{images} images on average over the sizes"
            remedy = "drop_last=False"
            if settings.landscape is not None:
                needed += f" and {settings.spare} more for group_by_aspect_ratio=True"
                remedy += " or group_by_aspect_ratio=False"
            raise ValueError(
                f"drop_last=True needs a dataset of at least one batch per rank, "
                f"{needed}, but got {fewest}; lower batch_size or set {remedy}"
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


_NO_INDEX = "sampler must give at least one index, but its length is 0"
