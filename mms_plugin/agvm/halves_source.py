"""The gradients of two halves of a batch, and the interface of what provides them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
)

from torch import Tensor, nn

from .gradients import GradientDict
from .micro_batch import MicroBatch

__all__ = ["Halves", "HalvesSource"]


class Halves(NamedTuple):
    """The two sets of gradients that one measurement compares.

    Attributes:
        first: Gradients of the first half. Empty on a rank that leaves the measuring
            to another.
        other: Gradients of the second half, or of both halves together.
        other_is_total: Whether ``other`` is the sum of both halves.
        reduce: Makes the measured products the same on every rank.
        half_variance: Converts the variance between ``first`` and ``other`` to that
            of two halves of one batch. ``None``: they are two halves of one batch.
    """

    first: GradientDict
    other: GradientDict
    other_is_total: bool = True
    reduce: Callable[[Tensor], Tensor] = lambda products: products
    half_variance: Optional[Callable[[float], float]] = None


class HalvesSource:
    """Provide the gradients of two halves of a batch.

    The optimizer wrapper runs the forward pass of every iteration within
    :meth:`forward`, its backward pass within :meth:`backward`, and calls :meth:`take`
    once before every update, with the gradients as the backward passes left them.

    Args:
        params: Parameters in the order of the optimizer.
    """

    failure: Optional[str] = None
    """Why this source does not work with the model; ``None``: it does."""

    compares_updates: bool = False
    """Whether a measurement needs the previous update; the first update has none."""

    def __init__(self, params: Sequence[Tensor]) -> None:
        self.params = list(params)

    @contextmanager
    def forward(self, model: nn.Module, micro_batch: MicroBatch) -> Iterator[None]:
        """Surround the forward pass of an iteration."""
        yield

    @contextmanager
    def backward(self, micro_batch: MicroBatch) -> Iterator[None]:
        """Surround the backward pass of an iteration."""
        yield

    def take(self, micro_batch: MicroBatch) -> Optional[Halves]:
        """Return the halves of a measured update, and prepare for the next update.

        Args:
            micro_batch: The last iteration of the update.

        Returns:
            Halves, optional: None where the update is not measured or has no halves.
        """
        raise NotImplementedError

    def state_dict(self) -> Dict[str, Any]:
        """Return what a resumed training needs to continue bit for bit."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a saved state."""
