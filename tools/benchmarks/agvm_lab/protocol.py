"""The settings that all arms of a run of ``large_batch.py`` share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Dict, Tuple


@dataclass(frozen=True)
class Protocol:
    """Data and schedule of the benchmark.

    Args:
        train_images: Drawn scenes to train on. Defaults to 8192.
        val_images: Drawn scenes to validate on. Defaults to 1000.
        side: Longer side of the scenes in pixels. Defaults to 64.
        epochs: Epochs of an arm. Defaults to 15: 480 updates at batch 256.
        micro_batch: Images per iteration; larger batches are accumulated.
            Defaults to 32.
        warmup: Part of the training that warms up, exponentially from 0.001. Defaults
            to 920 of 7330 iterations, as in the released recipe for batch 256.
        margin: Clipping starts this part of the warm-up before its end and stops this
            part after it, when AGVM starts. Defaults to 100 of 920 iterations, as
            released.
        decays: Parts of the training after which the rate falls to a tenth. Defaults
            to 12 and 14 of 16 epochs, as released.
        clip_norm: Largest norm of the gradients while they are clipped. Defaults to 1,
            as released.
        measurements: Measurements of AGVM in a training, where it has as many updates
            after the start. Defaults to 200.
        horizon: Part of the measurements that AGVM's moving average spans: momentum
            is ``1 - 1 / (horizon * measurements)``. Defaults to 1/6: momentum 0.97
            with 200 measurements.
    """

    train_images: int = 8192
    val_images: int = 1000
    side: int = 64
    epochs: int = 15
    micro_batch: int = 32
    warmup: float = 920 / 7330
    margin: float = 100 / 920
    decays: Tuple[float, ...] = (12 / 16, 14 / 16)
    clip_norm: float = 1.0
    measurements: int = 200
    horizon: float = 1 / 6

    def micro(self, batch: int) -> int:
        """Return the images per iteration of a batch."""
        return min(self.micro_batch, batch)

    def counts(self, batch: int) -> int:
        """Return the iterations per update of a batch."""
        if batch % self.micro(batch) or self.train_images % batch:
            raise ValueError(
                f"batch must be a multiple of micro_batch={self.micro_batch} and a "
                f"divisor of train_images={self.train_images}, but got {batch}."
            )
        return batch // self.micro(batch)

    def updates(self, batch: int, epochs: int) -> int:
        """Return the updates of the weights in a training."""
        return epochs * (self.train_images // batch)

    def warmup_updates(self, updates: int) -> float:
        """Return the updates after which the rate is at its full height."""
        return max(1.0, self.warmup * updates)

    def clip_range(self, updates: int) -> Tuple[int, int]:
        """Return the updates at which clipping starts and stops."""
        middle = self.warmup_updates(updates)
        begin = int(middle * (1 - self.margin))
        return begin, max(begin + 1, round(middle * (1 + self.margin)))

    def agvm(self, updates: int, measurements: int = 0) -> Dict[str, Any]:
        """Return AGVM's schedule for a number of updates, ``start`` in updates.

        Args:
            updates: Updates of the training.
            measurements: Measurements wanted. Defaults to 0: those of the protocol.
        """
        start = self.clip_range(updates)[1]
        left = max(1, updates - start)
        wanted = measurements or self.measurements
        interval = max(1, round(left / wanted))
        number = -(-left // interval)
        momentum = max(0.0, 1 - 1 / max(1.0, self.horizon * number))
        return dict(start=start, interval=interval, momentum=round(momentum, 4))

    def to_dict(self) -> Dict[str, Any]:
        """Return the settings as plain numbers."""
        return dataclasses.asdict(self)


SMOKE = Protocol(
    train_images=16,
    val_images=4,
    epochs=1,
    micro_batch=2,
    measurements=4,
)
"""Made data of a few images: the same code in seconds."""
