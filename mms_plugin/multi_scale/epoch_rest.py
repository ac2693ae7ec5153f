"""What is left of an epoch that was begun on other ranks or in other batches.

MMEngine's and torch's samplers deal a permutation to the ranks card by card: rank ``r``
of ``W`` has positions ``r, r + W, r + 2W, ...``. Ranks in step have always used up a
beginning of that permutation. Whoever comes next, whatever their number, can go on
from there. Pure functions.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple, Tuple

import numpy as np

from .plan import Plan


class EpochRest(NamedTuple):
    """An epoch that was begun otherwise.

    Attributes:
        epoch: Which one.
        images: How many of its images were used before, by all ranks together.
    """

    epoch: int
    images: int


def used_on_rank(images: int, rank: int, world_size: int) -> int:
    """How many of the first ``images`` positions are a rank's.

    Args:
        images: Positions of the permutation, of all ranks together.
        rank: Of the process, from 0 on.
        world_size: Number of processes.
    """
    return max(0, -(-(images - rank) // world_size))


def left_over_ranks(total: int, images: int, world_size: int) -> Tuple[int, int]:
    """Most and fewest positions that any rank has left.

    Args:
        total: Positions of the permutation, of all ranks together.
        images: How many of them were used.
        world_size: Number of processes.
    """
    left = max(total - images, 0)
    return -(-left // world_size), left // world_size


def plan_digest(plan: Plan) -> str:
    """A name for a plan: two plans with the same batches have the same."""
    sizes = np.asarray(plan.sizes, dtype=np.int64).reshape(-1, 2)
    batches = np.column_stack([sizes[plan.choices], plan.batch_sizes])
    content = np.ascontiguousarray(batches, dtype="<i8").tobytes()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
