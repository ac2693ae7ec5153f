"""How one process comes by the gradients of two halves."""

from __future__ import annotations

from typing import Dict, List, Optional, Sequence

import torch
from torch import Tensor

__all__ = ["ConsecutiveHalves", "Halves", "MicroBatchHalves"]


class Halves:
    """Source of the first half's gradients; the second half's follow from them.

    An optimizer wrapper calls, in this order, :meth:`before_backward` and
    :meth:`after_backward` around each backward pass, :meth:`take` before an update
    that is to be measured, :meth:`reduce` on what was measured, and
    :meth:`after_measure` in every update, with the gradients as the backward pass
    left them.
    """

    other_is_total: bool = True
    """Whether ``param.grad`` is the sum of both halves, or the second one itself."""

    whole_batches: bool = False
    """Whether each half is a whole batch."""

    def __init__(self, params: Sequence[Tensor]) -> None:
        self.params = list(params)

    def before_backward(self, measures: bool, index: int, count: int) -> None:
        """Called before backward pass ``index`` of the ``count`` of an update."""

    def after_backward(self, measures: bool, index: int, count: int) -> None:
        """Called after it."""

    def take(self) -> Optional[Dict[Tensor, Tensor]]:
        """The first half's gradient of each parameter that has one.

        Returns:
            dict, optional: None where this update has no halves. Empty on a rank that
            leaves the measuring to another.
        """
        raise NotImplementedError

    def reduce(self, products: Tensor) -> Tensor:
        """Makes the measured products the same on every rank."""
        return products

    def after_measure(self, next_measures: bool) -> None:
        """Keeps what the next update's measurement needs."""

    def state_dict(self) -> Dict[str, List[Optional[Tensor]]]:
        """What a resumed training needs to go on bit for bit."""
        return {}

    def load_state_dict(self, state: Dict[str, List[Optional[Tensor]]]) -> None:
        """Takes over a saved state."""


class MicroBatchHalves(Halves):
    """The halves are the first and the second half of the accumulated micro-batches.

    With an odd number the first half has one more. The gradients that have piled up
    in the middle are copied once; the second half is the sum less that copy, each
    half weighted by its micro-batches.
    """

    def __init__(self, params: Sequence[Tensor]) -> None:
        super().__init__(params)
        self._first: Dict[Tensor, Tensor] = {}
        self._seen = 0
        self._complete = False

    def after_backward(self, measures: bool, index: int, count: int) -> None:
        # A training resumed within an update has not seen its first micro-batches.
        self._seen = 1 if index == 0 else self._seen + 1
        if measures and index + 1 == (count + 1) // 2 == self._seen and count > 1:
            self._first = _copies(self.params)
        self._complete = self._seen == count

    def take(self) -> Optional[Dict[Tensor, Tensor]]:
        first, self._first = self._first, {}
        if not self._complete or not first:
            return None
        for param in self.params:  # reached by the second half alone
            if param.grad is not None and param not in first:
                first[param] = torch.zeros_like(param.grad)
        return first


class ConsecutiveHalves(Halves):
    """The halves are the batches of this iteration and of the one before.

    The gradients of the iteration before a measured one are copied. Both are whole
    batches, at weights one update apart: :func:`~.variance.half_batch_variance`
    turns their angle into that of two halves of one batch.
    """

    other_is_total = False
    whole_batches = True

    def __init__(self, params: Sequence[Tensor]) -> None:
        super().__init__(params)
        self._previous: Optional[Dict[Tensor, Tensor]] = None

    def take(self) -> Optional[Dict[Tensor, Tensor]]:
        previous, self._previous = self._previous, None
        return previous

    def after_measure(self, next_measures: bool) -> None:
        self._previous = _copies(self.params) if next_measures else None

    def state_dict(self) -> Dict[str, List[Optional[Tensor]]]:
        if self._previous is None:
            return {}
        return dict(previous=[self._previous.get(param) for param in self.params])

    def load_state_dict(self, state: Dict[str, List[Optional[Tensor]]]) -> None:
        self._previous = None
        if "previous" in state and len(state["previous"]) == len(self.params):
            self._previous = {
                param: grad.to(param.device)
                for param, grad in zip(self.params, state["previous"])
                if grad is not None
            }


def _copies(params: Sequence[Tensor]) -> Dict[Tensor, Tensor]:
    return {
        param: param.grad.detach().clone() for param in params if param.grad is not None
    }
