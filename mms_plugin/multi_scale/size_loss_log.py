"""Log the objects and images that are lost at each input size."""

from __future__ import annotations

import logging
from typing import Dict, List, Tuple

from mmengine.dist import all_gather_object
from mmengine.runner import Runner

from .size_losses import SizeLosses, describe_losses, losses_of, losses_since
from .sizes import Size, ordered_sizes, size_text

__all__ = ["SizeLossLog", "loss_lines"]

# Fraction of a size's images above which the line is a warning.
_MANY = 0.1


class SizeLossLog:
    """Log the losses at each size since the last time, summed over all ranks.

    Nothing is logged while nothing is lost, and for datasets other than
    :class:`MultiScaleDataset`.
    """

    def __init__(self) -> None:
        self._before: Dict[Size, SizeLosses] = {}

    def start(self, runner: Runner) -> None:
        """Count from here on, without what a dry run has loaded."""
        self._before = losses_of(runner.train_loop.dataloader.dataset)

    def log(self, runner: Runner, when: str) -> None:
        """Log the losses since the last call, which all ranks must make together.

        Args:
            runner: Runner of the training.
            when: Part of the training that has ended, such as ``'Epoch 3'``.
        """
        now = losses_of(runner.train_loop.dataloader.dataset)
        own = losses_since(now, self._before)
        self._before = now
        for line, level in loss_lines(_summed(all_gather_object(own))):
            runner.logger.log(level, f"{when}: {line}")


def loss_lines(losses: Dict[Size, SizeLosses]) -> List[Tuple[str, int]]:
    """Return a line and a logging level for each size with losses.

    The level is a warning if more than a tenth of a size's images are lost.
    """
    lines = []
    for size, own in losses.items():
        if own.any:
            lost = (own.replaced + own.emptied) / max(own.images, 1)
            level = logging.WARNING if lost > _MANY else logging.INFO
            lines.append((f"at {size_text(size)} {describe_losses(own)}", level))
    return lines


def _summed(of_ranks: List[Dict[Size, SizeLosses]]) -> Dict[Size, SizeLosses]:
    sums: Dict[Size, SizeLosses] = {}
    for each in of_ranks:
        for size, losses in each.items():
            before = sums.get(size, SizeLosses())
            sums[size] = SizeLosses(*(a + b for a, b in zip(before, losses)))
    return {size: sums[size] for size in ordered_sizes(sums)}
