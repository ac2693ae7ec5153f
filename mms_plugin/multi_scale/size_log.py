"""Log the sizes of a training."""

from __future__ import annotations

from typing import Tuple

from mmengine.runner import Runner

from .sizes import Size, size_text

__all__ = ["SizeLog"]


class SizeLog:
    """Log which sizes are drawn from, and the size of every batch."""

    def __init__(self) -> None:
        self._last: Tuple[Size, ...] = ()

    def sizes(self, runner: Runner, drawn: Tuple[Size, ...], when: str) -> None:
        """Log the sizes that are drawn from, if they have changed.

        Args:
            runner: Runner of the training.
            drawn: ``(height, width)`` in pixels.
            when: Such as ``'Epoch 3'``.
        """
        if drawn == self._last:
            return
        self._last = drawn
        names = ", ".join(map(size_text, drawn))
        runner.logger.info(f"{when}: drawing from {len(drawn)} sizes: {names}")

    def batch(self, runner: Runner, batch: Tuple[int, int, int]) -> None:
        """Record ``(height, width, batch_size)`` of an iteration.

        It goes to the message hub, which the log reads, and to the visualizer.
        """
        names = ("train/height", "train/width", "train/batch_size")
        scalars = dict(zip(names, batch))
        for key, value in scalars.items():
            runner.message_hub.update_scalar(key, value)
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)
