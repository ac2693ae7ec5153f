"""A seed for what a model draws at random in an iteration."""

from __future__ import annotations

from mmengine.dist import get_rank
from mmengine.runner import Runner

from ..utils.random_state import mixed_seed, set_seeds

__all__ = ["seed_iteration"]


def seed_iteration(runner: Runner, seed: int) -> None:
    """Seed all generators by the iteration (dropout, RoI sampling and the like).

    A resumed training then draws what an uninterrupted one would have drawn. All ranks
    draw the same numbers, as in MMEngine, or numbers of their own with
    ``randomness=dict(diff_rank_seed=True)``.

    Args:
        runner: Runner of the training.
        seed: Seed of the training.
    """
    # MMEngine has no public way to ask for the arguments of set_randomness.
    randomness = getattr(runner, "_randomness_cfg", None) or {}
    rank = get_rank() if randomness.get("diff_rank_seed", False) else 0
    set_seeds(mixed_seed(seed, runner.iter, rank))
