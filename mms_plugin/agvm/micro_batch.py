"""Locate an iteration among the updates and the measurements."""

from __future__ import annotations

from dataclasses import dataclass

from .agvm_config import AGVMConfig

__all__ = ["MicroBatch", "micro_batch_at"]


@dataclass(frozen=True)
class MicroBatch:
    """One iteration: a whole batch, or one of several that are accumulated.

    Attributes:
        measured: Whether the update that it belongs to is measured.
        next_measured: Whether the update after that is measured.
        index: Index of the iteration in its update, from 0.
        count: Iterations that are accumulated for the update.
    """

    measured: bool
    next_measured: bool
    index: int = 0
    count: int = 1


def micro_batch_at(
    config: AGVMConfig,
    iteration: int,
    accumulative_counts: int = 1,
    max_iterations: int = -1,
) -> MicroBatch:
    """Return the place of an iteration among the updates and the measurements.

    Args:
        config: Arguments of AGVM.
        iteration: Index of the iteration, counted from 0 over the training.
        accumulative_counts: Iterations per update. Defaults to 1.
        max_iterations: Iterations of the training, whose last update may have fewer
            than ``accumulative_counts``. Defaults to -1: unknown.
    """
    update, index = divmod(iteration, accumulative_counts)
    count = accumulative_counts
    if max_iterations > 0:
        count = min(count, max_iterations - update * count)
    return MicroBatch(
        config.measures(update, accumulative_counts),
        config.measures(update + 1, accumulative_counts),
        index,
        count,
    )
