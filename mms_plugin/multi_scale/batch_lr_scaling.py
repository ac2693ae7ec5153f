"""The learning rate of an iteration, scaled by its batch size."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

from mmengine.runner import Runner

from .runner_parts import plain_optim_wrappers

__all__ = ["LR_SCALINGS", "BatchLrScaling"]

LR_SCALINGS: Dict[str, float] = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}
"""Exponent of the batch size, relative to the base one, in the learning rate."""


class BatchLrScaling:
    """Scales the learning rate for one iteration and then restores it.

    With gradient accumulation the mean over the accumulated batches counts. Schedulers
    and logs see the unscaled rate.

    Args:
        rule: ``'none'``, ``'sqrt'`` or ``'linear'``.

    Raises:
        ValueError: There is no such rule.
    """

    def __init__(self, rule: str = "none") -> None:
        if rule not in LR_SCALINGS:
            raise ValueError(
                f"lr_scaling must be one of {list(LR_SCALINGS)}, but got {rule!r}"
            )
        self.rule = rule
        self._accumulated: List[float] = []
        self._unscaled: List[Tuple[dict, Any]] = []

    def scale(self, runner: Runner, relative_batch_size: float) -> None:
        """Scale the rates of all optimizers.

        Args:
            runner: Of the training.
            relative_batch_size: Images of this iteration over those at the base size.
        """
        if self.rule == "none":
            return
        accumulated = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
        if runner.iter % accumulated == 0:
            self._accumulated = []
        self._accumulated.append(relative_batch_size)
        mean = sum(self._accumulated) / len(self._accumulated)
        factor = mean ** LR_SCALINGS[self.rule]
        for wrapper in plain_optim_wrappers(runner.optim_wrapper):
            for group in wrapper.optimizer.param_groups:
                self._unscaled.append((group, group["lr"]))
                group["lr"] = group["lr"] * factor

    def restore(self) -> None:
        """Restore the unscaled rates for the schedulers."""
        for group, lr in self._unscaled:
            group["lr"] = lr
        self._unscaled = []
