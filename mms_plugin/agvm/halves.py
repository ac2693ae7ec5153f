"""The gradients of two halves of a batch, and what a source of them has to do."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
)

import torch
from torch import Tensor, nn

from .variance import half_batch_variance

__all__ = [
    "ConsecutiveHalves",
    "Halves",
    "HalvesSource",
    "MicroBatchHalves",
    "MicroBatch",
    "gradients_of",
]

GradientDict = Dict[Tensor, Tensor]
"""The gradient of each parameter that has one."""


@dataclass(frozen=True)
class MicroBatch:
    """The place of an iteration among the updates and the measurements.

    Attributes:
        measures: Whether its update is measured.
        next_measures: Whether the next update is measured.
        index: Of this iteration in its update, from 0.
        count: Iterations that are accumulated for the update.
    """

    measures: bool
    next_measures: bool
    index: int = 0
    count: int = 1


class Halves(NamedTuple):
    """What one measurement compares.

    Attributes:
        first: Gradients of the first half. Empty on a rank that leaves the measuring
            to another.
        other: Gradients of the second half, or of both halves together.
        other_is_total: Whether ``other`` is the sum of both halves.
        reduce: Makes the measured products the same on every rank.
        half_variance: Turns the variance of what was compared into that of two halves
            of one batch. ``None``: these are two halves of one batch.
    """

    first: GradientDict
    other: GradientDict
    other_is_total: bool = True
    reduce: Callable[[Tensor], Tensor] = lambda products: products
    half_variance: Optional[Callable[[float], float]] = None


class HalvesSource:
    """Where the gradients of two halves come from.

    The optimizer wrapper runs the forward pass of every iteration within
    :meth:`forward`, its backward pass within :meth:`backward`, and calls :meth:`take`
    once before every update, with the gradients as the backward passes left them.

    Args:
        params: Parameters in the order of the optimizer.
    """

    failure: Optional[str] = None
    """Why this source does not work with the model; ``None``: it does."""

    compares_updates: bool = False
    """Whether a measurement needs the update before; the first one then has none."""

    def __init__(self, params: Sequence[Tensor]) -> None:
        self.params = list(params)

    @contextmanager
    def forward(self, model: nn.Module, place: MicroBatch) -> Iterator[None]:
        """Surround the forward pass of an iteration."""
        yield

    @contextmanager
    def backward(self, place: MicroBatch) -> Iterator[None]:
        """Surround the backward pass of an iteration."""
        yield

    def take(self, place: MicroBatch) -> Optional[Halves]:
        """Return the halves of a measured update, and prepare for the next update.

        Returns:
            ``None`` where the update is not measured, or has no halves.
        """
        raise NotImplementedError

    def state_dict(self) -> Dict[str, Any]:
        """Return what a resumed training needs to continue bit for bit."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state."""


class MicroBatchHalves(HalvesSource):
    """The halves are the first and the second half of the accumulated micro-batches.

    With an odd number the first half has one more. The gradients accumulated by the
    middle are copied once; the second half is the sum less that copy, each half
    weighted by its micro-batches.
    """

    def __init__(self, params: Sequence[Tensor]) -> None:
        super().__init__(params)
        self._first: GradientDict = {}
        self._seen = 0

    @contextmanager
    def backward(self, place: MicroBatch) -> Iterator[None]:
        """Copy the gradients after the first half of the micro-batches."""
        yield
        # A training resumed within an update has not seen its first micro-batches.
        self._seen = 1 if place.index == 0 else self._seen + 1
        middle = (place.count + 1) // 2
        if place.measures and place.index + 1 == middle == self._seen < place.count:
            self._first = gradient_copies(self.params)

    def take(self, place: MicroBatch) -> Optional[Halves]:
        """Return the copied half and the whole gradient."""
        first, self._first = self._first, {}
        if not place.measures or self._seen != place.count or not first:
            return None
        total = gradients_of(self.params)
        for param, gradient in total.items():  # reached by the second half only
            if param not in first:
                first[param] = torch.zeros_like(gradient)
        return Halves(first, total)


class ConsecutiveHalves(HalvesSource):
    """The halves are the batches of this iteration and of the one before.

    The gradients of the iteration before a measured one are copied. Both are whole
    batches, at weights one update apart: :func:`~.variance.half_batch_variance`
    turns their angle into that of two halves of one batch.
    """

    compares_updates = True

    def __init__(self, params: Sequence[Tensor]) -> None:
        super().__init__(params)
        self._previous: Optional[GradientDict] = None

    def take(self, place: MicroBatch) -> Optional[Halves]:
        """Return the last gradient and this one; keep this one for the next update."""
        halves = None
        if place.measures and self._previous is not None:
            halves = Halves(
                self._previous,
                gradients_of(self.params),
                other_is_total=False,
                half_variance=half_batch_variance,
            )
        self._previous = gradient_copies(self.params) if place.next_measures else None
        return halves

    def state_dict(self) -> Dict[str, Any]:
        """Return the kept gradients in the order of the parameters."""
        if self._previous is None:
            return {}
        return dict(previous=in_order(self.params, self._previous))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the kept gradients."""
        self._previous = None
        if len(state.get("previous", ())) == len(self.params):
            self._previous = from_order(self.params, state["previous"])


def gradients_of(params: Sequence[Tensor]) -> GradientDict:
    """Return the gradient of each parameter that has one."""
    return {param: param.grad for param in params if param.grad is not None}


def gradient_copies(params: Sequence[Tensor]) -> GradientDict:
    """Return a copy of the gradient of each parameter that has one."""
    return {
        param: grad.detach().clone() for param, grad in gradients_of(params).items()
    }


def in_order(
    params: Sequence[Tensor], tensors: Mapping[Tensor, Tensor]
) -> List[Optional[Tensor]]:
    """Return tensors by parameter as a list, which a checkpoint can hold."""
    return [tensors.get(param) for param in params]


def from_order(
    params: Sequence[Tensor], tensors: Sequence[Optional[Tensor]]
) -> GradientDict:
    """Return what :func:`in_order` was given, on the parameters' devices."""
    return {
        param: tensor.to(param.device)
        for param, tensor in zip(params, tensors)
        if tensor is not None
    }
