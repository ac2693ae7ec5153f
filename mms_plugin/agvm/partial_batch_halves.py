"""Halves in one process: the last batch and a part of this one, at equal weights."""

from __future__ import annotations

import inspect
import random
from contextlib import contextmanager
from functools import partial
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

import numpy as np
import torch
from torch import Tensor, nn

from ..utils.random_state import kept_random_states
from .batch_slicing import batch_size, first_images
from .halves import (
    Halves,
    HalvesSource,
    MicroBatch,
    from_order,
    gradient_copies,
    gradients_of,
    in_order,
)
from .variance import half_batch_variance

__all__ = ["PartialBatchHalves", "unchanged"]


class PartialBatchHalves(HalvesSource):
    """The halves are the batch of the last iteration and a part of this one.

    Before the update that precedes a measured iteration, its gradient and the weights
    are copied. In the measured iteration, once its own backward pass is done, a part
    of its batch is run forward and backward at those weights. Both gradients are then
    at the same weights and have no image in common; and the weights have seen none
    of the images, whose noise is therefore independent. (A part of the batch before
    has shaped the weights; a part of a batch against the whole of it shares images.)
    :func:`~.variance.half_batch_variance` turns their angle into that of two halves.

    The pass leaves no trace in training: weights, gradients, buffers, frozen
    parameters, training flags and random states are put back.

    Args:
        params: Parameters in the order of the optimizer.
        fraction: Part of the batch, in (0, 1]; rounded down, at least one image.
        forward_context: Context of the forward pass for a model (autocast).
        loss_scale: The current factor of the loss.

    Attributes:
        failure (str, optional): Why the part cannot be run.
    """

    compares_updates = True

    def __init__(
        self,
        params: Sequence[Tensor],
        fraction: float,
        forward_context: Callable[[nn.Module], ContextManager],
        loss_scale: Callable[[], float],
    ) -> None:
        super().__init__(params)
        self.failure: Optional[str] = None
        self._fraction = fraction
        self._forward_context = forward_context
        self._loss_scale = loss_scale
        self._size: Optional[int] = None
        self._part: Optional[_Call] = None
        self._halves: Optional[Halves] = None
        self._last = _Last({}, {}, 0)

    @contextmanager
    def forward(self, model: nn.Module, place: MicroBatch) -> Iterator[None]:
        """Note the size of a batch, and copy a part of a measured one."""
        self._part = self._size = None
        if self.failure or not (place.measures or place.next_measures):
            yield
            return
        model = getattr(model, "module", model)

        def look(_: nn.Module, args: Tuple, kwargs: Dict[str, Any]) -> None:
            call = inspect.signature(model.forward).bind(*args, **kwargs)
            call.apply_defaults()
            if kwargs.get("mode", call.arguments.get("mode", "loss")) != "loss":
                return
            if self._size is not None:
                self.failure = "it is called more than once in an iteration"
                return
            try:
                self._size = batch_size(call.arguments)
                if place.measures and self._last.grads:
                    count = max(1, int(self._fraction * self._size))
                    for name, value in call.arguments.items():
                        call.arguments[name] = first_images(value, self._size, count)
                    self._part = _Call(model, call.args, call.kwargs, count)
            except ValueError as error:
                self.failure = str(error)

        # Only as long as it is needed: a copy of the model carries no hook.
        handle = model.register_forward_pre_hook(look, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def backward(self, place: MicroBatch) -> Iterator[None]:
        """Run the copied part at the last weights, once the backward pass is done."""
        self._halves = None
        yield
        part, self._part = self._part, None
        if part is None or self.failure:
            return
        try:
            grads = self._gradients(part)
        except Exception as error:  # whatever a model makes of fewer images
            self.failure = (
                f"it failed on {part.size} images of a batch: "
                f"{type(error).__name__}: {error}"
            )
            return
        if grads:
            self._halves = Halves(
                grads,
                self._last.grads,
                other_is_total=False,
                half_variance=partial(
                    half_batch_variance, ratio=part.size / self._last.size
                ),
            )

    def _gradients(self, part: _Call) -> Dict[Tensor, Tensor]:
        with unchanged(part.model), torch.enable_grad(), self._last_weights():
            with self._forward_context(part.model):
                losses = part.model(*part.args, **part.kwargs)
            loss = part.model.parse_losses(losses)[0]  # type: ignore[operator]
            (loss * self._loss_scale()).backward()
            return gradients_of(self.params)

    @contextmanager
    def _last_weights(self) -> Iterator[None]:
        weights = {param: param.data for param in self._last.weights}
        try:
            for param, weight in self._last.weights.items():
                param.data = weight
            torch.clear_autocast_cache()  # it knows parameters, not their values
            yield
        finally:
            for param, weight in weights.items():
                param.data = weight
            torch.clear_autocast_cache()

    def take(self, place: MicroBatch) -> Optional[Halves]:
        """Return the halves; keep gradient and weights where the next is measured."""
        halves, self._halves = self._halves, None
        self._last = _Last({}, {}, 0)
        if place.next_measures and not self.failure:
            self._keep()
        return halves if place.measures else None

    def _keep(self) -> None:
        if self._size is None:
            self.failure = "no call in mode='loss' was seen in optim_context(model)"
            return
        grads = gradient_copies(self.params)
        # Those that have no gradient now may have one in the part.
        weights = {p: p.detach().clone() for p in self.params if p.requires_grad}
        self._last = _Last(grads, weights, self._size)

    def state_dict(self) -> Dict[str, Any]:
        if not self._last.grads:
            return {}
        return dict(
            grads=in_order(self.params, self._last.grads),
            weights=in_order(self.params, self._last.weights),
            size=self._last.size,
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._last = _Last({}, {}, 0)
        if "weights" in state and len(state["weights"]) == len(self.params):
            self._last = _Last(
                from_order(self.params, state["grads"]),
                from_order(self.params, state["weights"]),
                int(state["size"]),
            )


class _Last(NamedTuple):
    """The last iteration, where the next is measured: images, and before the update
    each parameter's gradient and weight."""

    grads: Dict[Tensor, Tensor]
    weights: Dict[Tensor, Tensor]
    size: int


class _Call(NamedTuple):
    """A call of a model with a part of a batch."""

    model: nn.Module
    args: Any
    kwargs: Any
    size: int


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Puts back what a training pass of a model changes, and starts without gradients.

    That is: gradients, buffers, frozen parameters, training flags, and the random
    states of torch, NumPy and Python, which are seeded anew meanwhile. Whatever else
    a model keeps (a list of past losses, say) is not put back.

    Args:
        model: The model, not wrapped.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    training = [(module, module.training) for module in model.modules()]
    buffers = [(m, name, b) for m in model.modules() for name, b in m._buffers.items()]
    tensors = frozen + [b for _, _, b in buffers if b is not None]
    values = [tensor.detach().clone() for tensor in tensors]
    grads = [param.grad for param in trainable]
    devices = sorted({t.device.index for t in trainable if t.device.type == "cuda"})
    for param in trainable:
        param.grad = None
    try:
        with kept_random_states(param.device for param in trainable):
            # Else it would see the random numbers of the pass that comes next.
            seed = int(torch.randint(2**31, ()))
            torch.default_generator.manual_seed(seed)
            for device in devices:
                torch.cuda.default_generators[device].manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
    finally:
        for param, grad in zip(trainable, grads):
            param.grad = grad
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
        with torch.no_grad():
            for tensor, value in zip(tensors, values):
                tensor.copy_(value)
        for module, flag in training:
            module.training = flag
