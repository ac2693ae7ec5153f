"""A small training to be killed: its data, its model, and the hook that kills.

Imported by the configs that kill_and_resume.py writes.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from typing import Any, Dict, Optional, Sequence

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from torch import nn


@DATASETS.register_module()
class KilledDataset(BaseDataset):
    """Pictures drawn from their index, at the size of the batch."""

    def __init__(self, num: int = 100) -> None:
        self.num = num
        super().__init__(pipeline=[self.draw])

    def load_data_list(self) -> list:
        """Return one entry for each sample."""
        return [dict(index=index) for index in range(self.num)]

    @staticmethod
    def draw(results: Dict[str, Any]) -> Dict[str, Any]:
        """Draw random numbers as a transform does."""
        index = results["index"]
        picture = np.random.default_rng(index).random(
            (3, *results["target_size"]), dtype=np.float32
        )
        picture[index % 3] += 0.5
        return dict(inputs=torch.from_numpy(picture), label=torch.tensor(index % 3))


@MODELS.register_module()
class KilledModel(BaseModel):
    """Two convolutions; ``ballast`` MiB make its checkpoint take a while to write."""

    def __init__(self, ballast: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        )
        self.register_buffer("ballast", torch.zeros(ballast << 18))

    def forward(
        self, inputs: torch.Tensor, label: torch.Tensor, mode: str = "tensor"
    ) -> Any:
        """Return the loss, or the output of the network."""
        scores = self.layers(inputs)
        if mode == "loss":
            return dict(loss=nn.functional.cross_entropy(scores, label))
        return scores


@HOOKS.register_module()
class KillHook(Hook):
    """``kill -9`` to its own process, as the kernel's out-of-memory killer would.

    Args:
        ranks: Who is hit.
        iteration: At which iteration, if at one.
        save: While which checkpoint is saved, counted from 0, if during one.
        delay: Seconds after the saving has begun.
        by: ``'SIGKILL'``; ``'SIGSTOP'``: hangs from then on; ``'disk'``: its disk takes
            no more, and the checkpoint is not saved.
        note: File that gets the moment, as ``time.time()``, and the iteration.
    """

    def __init__(
        self,
        ranks: Sequence[int],
        iteration: Optional[int] = None,
        save: Optional[int] = None,
        delay: float = 0.0,
        by: str = "SIGKILL",
        note: str = "",
    ) -> None:
        self.mine = get_rank() in ranks
        self.iteration, self.save, self.delay = iteration, save, delay
        self.by, self.note = by, note
        self.saves = 0

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None
    ) -> None:
        """End the process at the chosen iteration."""
        if self.mine and runner.iter == self.iteration:
            self.hit(runner.iter)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Count the checkpoints, and end the process at the chosen one."""
        self.saves += 1
        if not self.mine or self.saves != (self.save or 0) + 1 or self.save is None:
            return
        iteration = checkpoint["meta"]["iter"]
        if self.by == "disk":
            self.hit(iteration)
            return

        def later() -> None:
            time.sleep(self.delay)
            self.hit(iteration)

        threading.Thread(target=later, daemon=True).start()

    def hit(self, iteration: int) -> None:
        """Note the iteration, and end the process."""
        with open(self.note, "w") as stream:
            stream.write(f"{time.time()} {iteration}")
        if self.by == "disk":
            # Half of the checkpoint has room, and the log.
            resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, 16 << 20))
        else:
            os.kill(os.getpid(), getattr(signal, self.by))
