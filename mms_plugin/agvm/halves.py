"""How one process comes by the gradients of two halves."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence

import torch
from torch import Tensor, nn

from .variance import half_batch_variance

__all__ = ["ConsecutiveHalves", "Halves", "MicroBatchHalves"]


class Halves:
    """Source of the first half's gradients; the second half's follow from them.

    An optimizer wrapper calls, in this order, :meth:`watch` around the forward pass,
    :meth:`before_backward` and :meth:`after_backward` around each backward pass,
    :meth:`take` before an update that is to be measured, :meth:`reduce` on what was
    measured, :meth:`half_variance` on the variances, and :meth:`after_measure` in
    every update, with the gradients as the backward pass left them.
    """

    other_is_total: bool = True
    """Whether :meth:`other` is the sum of both halves, or the second one itself."""

    compares_updates: bool = False
    """Whether a measurement needs the update before; the first one then has none."""

    def __init__(self, params: Sequence[Tensor]) -> None:
        self.params = list(params)

    @contextmanager
    def watch(
        self, model: nn.Module, measures: bool, next_measures: bool
    ) -> Iterator[None]:
        """Wraps the forward pass."""
        yield

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

    def other(self, param: Tensor) -> Optional[Tensor]:
        """What the first half is compared with, see :attr:`other_is_total`."""
        return param.grad

    def reduce(self, products: Tensor) -> Tensor:
        """Makes the measured products the same on every rank."""
        return products

    def half_variance(self, variance: float) -> float:
        """Variance of two halves, from that of what was compared."""
        return variance

    def after_measure(self, next_measures: bool) -> None:
        """Keeps what the next update's measurement needs."""

    def state_dict(self) -> Dict[str, Any]:
        """What a resumed training needs to go on bit for bit."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
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
            self._first = gradient_copies(self.params)
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
    compares_updates = True

    def __init__(self, params: Sequence[Tensor]) -> None:
        super().__init__(params)
        self._previous: Optional[Dict[Tensor, Tensor]] = None

    def take(self) -> Optional[Dict[Tensor, Tensor]]:
        previous, self._previous = self._previous, None
        return previous

    def half_variance(self, variance: float) -> float:
        return half_batch_variance(variance)

    def after_measure(self, next_measures: bool) -> None:
        self._previous = gradient_copies(self.params) if next_measures else None

    def state_dict(self) -> Dict[str, Any]:
        if self._previous is None:
            return {}
        return dict(previous=in_order(self.params, self._previous))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._previous = None
        if len(state.get("previous", ())) == len(self.params):
            self._previous = from_order(self.params, state["previous"])


def gradient_copies(params: Sequence[Tensor]) -> Dict[Tensor, Tensor]:
    """The gradient of each parameter that has one, as copies."""
    return {
        param: param.grad.detach().clone() for param in params if param.grad is not None
    }


def in_order(
    params: Sequence[Tensor], tensors: Mapping[Tensor, Tensor]
) -> List[Optional[Tensor]]:
    """Tensors by parameter, as a checkpoint can hold them."""
    return [tensors.get(param) for param in params]


def from_order(
    params: Sequence[Tensor], tensors: Sequence[Optional[Tensor]]
) -> Dict[Tensor, Tensor]:
    """What :func:`in_order` was given, on the parameters' devices."""
    return {
        param: tensor.to(param.device)
        for param, tensor in zip(params, tensors)
        if tensor is not None
    }
