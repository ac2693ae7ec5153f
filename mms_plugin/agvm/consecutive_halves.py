"""Halves in one process without accumulation: the last batch and this one."""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Sequence

from torch import Tensor

from .gradients import (
    GradientDict,
    gradient_copies,
    gradients_of,
    tensors_as_list,
    tensors_from_list,
)
from .halves_source import Halves, HalvesSource
from .micro_batch import MicroBatch
from .variance import half_batch_variance

__all__ = ["ConsecutiveHalves"]


class ConsecutiveHalves(HalvesSource):
    """Compare the batch of this iteration with that of the previous one.

    The gradients of the iteration before a measured one are copied. Both are of whole
    batches, at weights one update apart: :func:`~.variance.half_batch_variance`
    converts their variance to that of two halves of one batch.

    Args:
        params: Parameters in the order of the optimizer.
    """

    compares_updates = True

    def __init__(self, params: Sequence[Tensor]) -> None:
        super().__init__(params)
        self._previous: Optional[GradientDict] = None

    def take(self, micro_batch: MicroBatch) -> Optional[Halves]:
        """Return the previous gradient and this one; keep this one if needed next."""
        halves = None
        if micro_batch.measured and self._previous is not None:
            halves = Halves(
                self._previous,
                gradients_of(self.params),
                other_is_total=False,
                half_variance=half_batch_variance,
            )
        self._previous = None
        if micro_batch.next_measured:
            self._previous = gradient_copies(self.params)
        return halves

    def state_dict(self) -> Dict[str, Any]:
        """Return the kept gradients in the order of the parameters."""
        if self._previous is None:
            return {}
        return dict(previous=tensors_as_list(self.params, self._previous))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the kept gradients."""
        self._previous = None
        if len(state.get("previous", ())) == len(self.params):
            self._previous = tensors_from_list(self.params, state["previous"])
