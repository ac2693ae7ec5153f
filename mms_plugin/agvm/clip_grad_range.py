"""Explain when clipping within a range of iterations has no effect."""

from __future__ import annotations

from typing import Optional

__all__ = ["explain_without_effect"]


def explain_without_effect(
    begin: int, end: Optional[int], done: int, total: int
) -> Optional[str]:
    """Explain why a range of clipped iterations has no effect, or no end.

    Args:
        begin: First iteration with clipping, counted from 0 over the training.
        end: First iteration without it again. ``None``: there is none.
        done: Iterations that are done; above 0 in a resumed training.
        total: Iterations of the whole training.

    Returns:
        str, optional: The values and what to set. None if the range lies within the
        training, was passed before it was resumed, or if no iteration is left.
    """
    if done >= total:
        return None
    if begin == end:
        return (
            f"ClipGradRangeHook never clips: no iteration lies between begin={begin} "
            f"and end={end}, the first without clipping. Set end to more than {begin}, "
            "or remove the hook and optim_wrapper.clip_grad."
        )
    if begin >= total:
        return (
            f"ClipGradRangeHook never clips: begin={begin} lies beyond the end of the "
            f"training, which has {total} iterations. Set begin to less than {total}, "
            "or remove the hook and optim_wrapper.clip_grad."
        )
    if end is not None and end > total:
        return (
            f"ClipGradRangeHook never stops clipping: end={end} lies beyond the end of "
            f"the training, which has {total} iterations. Set end to at most {total}, "
            "or to None to clip to the end."
        )
    return None
