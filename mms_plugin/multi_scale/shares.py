"""Share out the samples of an epoch among the ranks.

MMEngine's and torch's samplers deal a permutation to the ranks in turn: rank ``r`` of
``W`` has positions ``r, r + W, r + 2W, ...``. Ranks in step have always used up the
beginning of that permutation, so any number of ranks can continue from there. Pure
functions.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

__all__ = ["Shares", "left_over_ranks", "used_on_rank"]


def used_on_rank(images: int, rank: int, world_size: int) -> int:
    """Return how many of the first ``images`` positions belong to a rank.

    Args:
        images: Positions of the permutation, of all ranks together.
        rank: Rank of the process, from 0.
        world_size: Number of processes.
    """
    return max(0, -(-(images - rank) // world_size))


def left_over_ranks(total: int, images: int, world_size: int) -> Tuple[int, int]:
    """Return the most and the fewest positions that any rank has left.

    Args:
        total: Positions of the permutation, of all ranks together.
        images: How many of them were used.
        world_size: Number of processes.
    """
    left = max(total - images, 0)
    return -(-left // world_size), left // world_size


class Shares(NamedTuple):
    """The samples of an epoch, and the part of them that this rank has.

    Attributes:
        rank: Rank of this process, from 0.
        world_size: Number of processes.
        on_rank: Samples of a whole epoch on this rank.
        total: Samples of a whole epoch, of all ranks, with those that come twice.
        distinct: Samples of a whole epoch, of all ranks, each counted once.
        padded: Whether all ranks have equally many samples, some of them twice.
    """

    rank: int
    world_size: int
    on_rank: int
    total: int
    distinct: int
    padded: bool

    def left(self, used: int = 0) -> Tuple[int, int]:
        """Return the most and the fewest samples that any rank has left.

        Args:
            used: Samples of the epoch that were used before, by all ranks together.
                Where shares are padded, ranks with one sample fewer left get one a
                second time.
        """
        total = min(self.total, self.distinct) if used else self.total
        most, fewest = left_over_ranks(total, used, self.world_size)
        return most, most if self.padded else fewest

    def left_here(self, used: int = 0) -> int:
        """Return the samples that this rank has left.

        Args:
            used: See :meth:`left`.
        """
        if not used:
            return self.on_rank
        if self.padded:
            return self.left(used)[0]
        return self.on_rank - used_on_rank(used, self.rank, self.world_size)
