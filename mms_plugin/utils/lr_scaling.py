"""Scale a learning rate with the batch size."""

from __future__ import annotations

from typing import Dict

from .validation import parse_int

__all__ = ["LR_SCALING_POWERS", "lr_factor", "scaled_lr"]

LR_SCALING_POWERS: Dict[str, float] = {"sqrt": 0.5, "linear": 1.0}
"""Power of the batch size ratio by rule: ``'sqrt'`` (Krizhevsky, arXiv 1404.5997) and
``'linear'`` (Goyal et al., arXiv 1706.02677)."""


def lr_factor(batch_size_ratio: float, rule: str) -> float:
    """Return the factor on the learning rate for another batch size.

    Args:
        batch_size_ratio: The batch size over the one that the learning rate is meant
            for, positive.
        rule: ``'sqrt'`` or ``'linear'``.

    Raises:
        ValueError: ``rule`` is unknown.
    """
    if rule not in LR_SCALING_POWERS:
        raise ValueError(
            f"lr_scaling: rule must be 'sqrt' or 'linear', but got {rule!r}."
        )
    return batch_size_ratio ** LR_SCALING_POWERS[rule]


def scaled_lr(
    lr: float, batch_size: int, base_batch_size: int, rule: str = "linear"
) -> float:
    """Return a learning rate that is scaled from a base batch size to another one.

    Args:
        lr: Learning rate at ``base_batch_size``.
        batch_size: Images of all processes in one update of the weights.
        base_batch_size: Batch size that ``lr`` is meant for.
        rule: ``'sqrt'`` or ``'linear'``. Defaults to ``'linear'``.

    Raises:
        ValueError: A batch size is not a positive integer, or ``rule`` is unknown.
    """
    batch_size = parse_int(batch_size, "lr_scaling: batch_size")
    base_batch_size = parse_int(base_batch_size, "lr_scaling: base_batch_size")
    return lr * lr_factor(batch_size / base_batch_size, rule)
