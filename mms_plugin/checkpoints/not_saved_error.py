"""Tell all ranks that rank 0 has failed to save a checkpoint."""

from __future__ import annotations

from typing import Optional

from mmengine.dist import broadcast_object_list, get_world_size

__all__ = ["CheckpointNotSavedError", "raise_on_all_ranks"]


class CheckpointNotSavedError(RuntimeError):
    """Rank 0, which writes the checkpoints, has failed to save one."""


def raise_on_all_ranks(failure: Optional[Exception]) -> None:
    """Raise rank 0's failure there, and tell the other ranks. Called by all ranks.

    Args:
        failure: Of this rank; ``None`` if it has none.

    Raises:
        CheckpointNotSavedError: On the other ranks.
    """
    if get_world_size() > 1:
        told = [None if failure is None else f"{type(failure).__name__}: {failure}"]
        broadcast_object_list(told, src=0)
        if failure is None and told[0] is not None:
            raise CheckpointNotSavedError(f"rank 0 could not save: {told[0]}")
    if failure is not None:
        raise failure
