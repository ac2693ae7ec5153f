"""Scale the learning rate of an iteration by its batch size."""

from __future__ import annotations

from typing import Any, List, Tuple

from mmengine.runner import Runner

from ..utils.lr_scaling import LR_SCALING_POWERS, lr_factor
from .runner_parts import plain_optim_wrappers

__all__ = ["LR_SCALINGS", "BatchLrScaling"]

LR_SCALINGS = ("none", *LR_SCALING_POWERS)
"""The rules: ``'none'``, ``'sqrt'`` and ``'linear'``."""


class BatchLrScaling:
    """Scale the learning rate for one iteration and then restore it.

    With gradient accumulation it is scaled by the mean of the accumulated batch sizes.
    Schedulers and logs see the unscaled learning rate.

    Args:
        rule: ``'none'``, ``'sqrt'`` or ``'linear'``. Defaults to ``'none'``.

    Raises:
        ValueError: There is no such rule.
    """

    def __init__(self, rule: str = "none") -> None:
        if rule not in LR_SCALINGS:
            raise ValueError(
                f"lr_scaling must be one of {list(LR_SCALINGS)}, but got {rule!r}"
            )
        self.rule = rule
        self._recent: List[float] = []
        self._unscaled: List[Tuple[dict, Any]] = []

    def scale(self, runner: Runner, relative_batch_size: float) -> None:
        """Scale the learning rates of all optimizers.

        Args:
            runner: Runner of the training.
            relative_batch_size: Batch size of this iteration over the base batch size,
                the same on every rank.
        """
        if self.rule == "none":
            return
        wrappers = plain_optim_wrappers(runner.optim_wrapper)
        # MMEngine has no public way to ask for the iterations of an update.
        counts = [getattr(each, "_accumulative_counts", 1) for each in wrappers]
        self._recent = [*self._recent, relative_batch_size][-max(counts) :]
        for wrapper, count in zip(wrappers, counts):
            accumulated = self._recent[-(runner.iter % count + 1) :]
            factor = lr_factor(sum(accumulated) / len(accumulated), self.rule)
            for group in wrapper.optimizer.param_groups:
                self._unscaled.append((group, group["lr"]))
                group["lr"] = group["lr"] * factor

    def restore(self) -> None:
        """Restore the unscaled learning rates."""
        for group, lr in self._unscaled:
            group["lr"] = lr
        self._unscaled = []
