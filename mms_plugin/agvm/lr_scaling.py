"""Learning rate against batch size."""

from __future__ import annotations

import math

from ..utils.validation import parse_int

__all__ = ["scaled_lr"]


def scaled_lr(
    lr: float, batch_size: int, base_batch_size: int, rule: str = "linear"
) -> float:
    """Scales a learning rate from a base batch to another one.

    Args:
        lr: Rate at ``base_batch_size``.
        batch_size: Images of all processes in one update.
        base_batch_size: Images that ``lr`` is meant for.
        rule: ``'linear'`` (Goyal et al., arXiv 1706.02677) or ``'sqrt'``
            (Krizhevsky, arXiv 1404.5997). Defaults to ``'linear'``.

    Returns:
        float: The scaled rate.

    Raises:
        ValueError: A batch size is no positive integer, or the rule is unknown.
    """
    parse_int(batch_size, "lr_scaling: batch_size")
    parse_int(base_batch_size, "lr_scaling: base_batch_size")
    ratio = batch_size / base_batch_size
    if rule == "linear":
        return lr * ratio
    if rule == "sqrt":
        return lr * math.sqrt(ratio)
    raise ValueError(f"lr_scaling: rule must be 'linear' or 'sqrt', but got {rule!r}.")
