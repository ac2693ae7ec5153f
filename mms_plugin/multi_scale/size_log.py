"""Log the sizes of a training."""

from __future__ import annotations

import json
import os
from typing import Any, Tuple

from mmengine.dist import is_main_process
from mmengine.runner import EpochBasedTrainLoop, Runner

from .sizes import Size, size_text

__all__ = ["SIZES_FILE", "SizeLog", "append_to_sizes_file"]

SIZES_FILE = os.path.join("vis_data", "sizes.json")
"""In the folder of a start of a training: a line of JSON for every iteration.

Not in MMEngine's ``scalars.json`` beside it, whose lines other tools expect to be those
of ``LoggerHook``, and not in the visualizer, whose backends may send each line over the
network.
"""


class SizeLog:
    """Log which sizes are drawn from, and the size of every batch."""

    def __init__(self) -> None:
        self._last: Tuple[Size, ...] = ()
        self._writable = True

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

        It goes to the message hub, which the log reads, and to :data:`SIZES_FILE`, at
        once: if the iteration fails, its size is known.
        """
        names = ("train/height", "train/width", "train/batch_size")
        scalars = dict(zip(names, batch))
        for key, value in scalars.items():
            runner.message_hub.update_scalar(key, value)
        place = dict(step=runner.iter + 1)
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            place["epoch"] = runner.epoch + 1
        if self._writable:
            self._writable = append_to_sizes_file(runner, {**scalars, **place})


def append_to_sizes_file(runner: Runner, record: Any) -> bool:
    """Append a line to :data:`SIZES_FILE`, on the main process.

    Returns:
        bool: False if it cannot be written, as on a full disk, which ends no training:
        a warning says so.
    """
    if not is_main_process():
        return True
    path = os.path.join(runner.log_dir, SIZES_FILE)
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a") as stream:
            stream.write(json.dumps(record) + "\n")
    except OSError as error:
        runner.logger.warning(f"sizes are no longer written to {path}: {error}")
        return False
    return True
