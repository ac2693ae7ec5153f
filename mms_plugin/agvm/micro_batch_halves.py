"""Halves in one process with gradient accumulation."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Iterator, Optional, Sequence

import torch
from torch import Tensor

from .gradients import GradientDict, gradient_copies, gradients_of
from .halves_source import Halves, HalvesSource
from .micro_batch import MicroBatch

__all__ = ["MicroBatchHalves"]


class MicroBatchHalves(HalvesSource):
    """Compare the first with the second half of the accumulated micro-batches.

    With an odd number the first half has one more. The gradients accumulated by the
    middle are copied once; the second half is the sum minus that copy, each half
    weighted by its number of micro-batches.

    Args:
        params: Parameters in the order of the optimizer.
    """

    def __init__(self, params: Sequence[Tensor]) -> None:
        super().__init__(params)
        self._first: GradientDict = {}
        self._seen = 0

    @contextmanager
    def backward(self, micro_batch: MicroBatch) -> Iterator[None]:
        """Copy the gradients after the first half of the micro-batches."""
        yield
        # A training resumed within an update has not seen its first micro-batches.
        self._seen = 1 if micro_batch.index == 0 else self._seen + 1
        number, count = micro_batch.index + 1, micro_batch.count
        middle = (count + 1) // 2
        if micro_batch.measured and number == middle == self._seen < count:
            self._first = gradient_copies(self.params)

    def take(self, micro_batch: MicroBatch) -> Optional[Halves]:
        """Return the copied half and the whole gradient."""
        first, self._first = self._first, {}
        complete = self._seen == micro_batch.count
        if not micro_batch.measured or not complete or not first:
            return None
        total = gradients_of(self.params)
        for param, gradient in total.items():  # only the second half reached it
            if param not in first:
                first[param] = torch.zeros_like(gradient)
        return Halves(first, total)
