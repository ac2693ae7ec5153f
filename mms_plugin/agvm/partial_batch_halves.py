"""Halves in one process: the last batch and a part of this one, at the same weights."""

from __future__ import annotations

import inspect
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

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from ..utils.model_state import kept_model_state
from ..utils.random_state import kept_random_states, set_seeds
from ..utils.unwrapped_model import unwrapped
from .batch_slicing import count_images, first_images
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

__all__ = ["PartialBatchHalves"]


class PartialBatchHalves(HalvesSource):
    """Compare the batch of the last iteration with a part of this one.

    In the iteration before a measured one, the gradient and the weights before the
    update are copied. In the measured iteration, after its own backward pass, a part
    of its batch is run forward and backward at the copied weights. Both gradients are
    then at the same weights, have no image in common, and the weights have not been
    trained on either batch just before, so that their noise is independent.
    :func:`~.variance.half_batch_variance` converts their variance to that of two
    halves.

    The extra pass does not affect the training: weights, gradients, buffers, frozen
    parameters, training flags and random states are restored.

    Args:
        params: Parameters in the order of the optimizer.
        fraction: Part of the batch, in (0, 1]; rounded down, at least two images if
            the batch has two: batch norm over pooled features fails on one.
        forward_context: Gives the context of a model's forward pass (autocast).
        loss_scale: Gives the current loss scale.

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
        self._part: Optional[_PartOfBatch] = None
        self._halves: Optional[Halves] = None
        self._last = _LastIteration({}, {}, 0)

    @contextmanager
    def forward(self, model: nn.Module, micro_batch: MicroBatch) -> Iterator[None]:
        """Count the images of a batch, and copy a part of a measured one."""
        self._part = self._size = None
        model = unwrapped(model)
        wanted = micro_batch.measured or micro_batch.next_measured
        if wanted:
            self.failure = self.failure or _own_loss(model)
        if self.failure or not wanted:
            yield
            return

        def inspect_call(_: nn.Module, args: Tuple, kwargs: Dict[str, Any]) -> None:
            call = inspect.signature(model.forward).bind(*args, **kwargs)
            call.apply_defaults()
            if kwargs.get("mode", call.arguments.get("mode", "loss")) != "loss":
                return
            if self._size is not None:
                self.failure = "it is called more than once in an iteration"
                return
            try:
                self._size = count_images(call.arguments)
                if micro_batch.measured and self._last.grads:
                    part = max(2, int(self._fraction * self._size))
                    count = min(part, self._size)
                    for name, value in call.arguments.items():
                        call.arguments[name] = first_images(value, self._size, count)
                    self._part = _PartOfBatch(model, call.args, call.kwargs, count)
            except ValueError as error:
                self.failure = str(error)

        # Registered only here, so that copies of the model (EMA) have no hook.
        handle = model.register_forward_pre_hook(inspect_call, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @contextmanager
    def backward(self, micro_batch: MicroBatch) -> Iterator[None]:
        """Run the copied part at the last weights, after the backward pass."""
        self._halves = None
        yield
        part, self._part = self._part, None
        if part is None or self.failure:
            return
        try:
            grads = self._gradients(part)
        except Exception as error:  # of any kind: it depends on the model
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

    @torch.enable_grad()
    def _gradients(self, part: _PartOfBatch) -> GradientDict:
        model, args, kwargs, _ = part
        with kept_model_state(model), self._new_seed(), self._last_weights():
            with self._forward_context(model):
                losses = model(*args, **kwargs)
            loss = model.parse_losses(losses)[0]  # type: ignore[operator]
            (loss * self._loss_scale()).backward()
            return gradients_of(self.params)

    @contextmanager
    def _new_seed(self) -> Iterator[None]:
        """Give all generators a new seed, and restore their states afterwards."""
        trainable = [param for param in self.params if param.requires_grad]
        with kept_random_states(param.device for param in trainable):
            # Otherwise the pass would use the random numbers of the next iteration.
            set_seeds(int(torch.randint(2**31, ())))
            yield

    @contextmanager
    def _last_weights(self) -> Iterator[None]:
        weights = {param: param.data for param in self._last.weights}
        try:
            for param, weight in self._last.weights.items():
                param.data = weight
            torch.clear_autocast_cache()  # it caches by parameter, not by value
            yield
        finally:
            for param, weight in weights.items():
                param.data = weight
            torch.clear_autocast_cache()

    def take(self, micro_batch: MicroBatch) -> Optional[Halves]:
        """Return the halves; copy gradient and weights if the next is measured."""
        halves, self._halves = self._halves, None
        self._last = _LastIteration({}, {}, 0)
        if micro_batch.next_measured and not self.failure:
            self._copy_iteration()
        return halves if micro_batch.measured else None

    def _copy_iteration(self) -> None:
        if self._size is None:
            self.failure = "no call in mode='loss' was seen in optim_context(model)"
            return
        grads = gradient_copies(self.params)
        # Also those without a gradient now, which may have one in the part.
        weights = {p: p.detach().clone() for p in self.params if p.requires_grad}
        self._last = _LastIteration(grads, weights, self._size)

    def state_dict(self) -> Dict[str, Any]:
        """Return the copied gradients and weights in the order of the parameters."""
        if not self._last.grads:
            return {}
        return dict(
            grads=tensors_as_list(self.params, self._last.grads),
            weights=tensors_as_list(self.params, self._last.weights),
            size=self._last.size,
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the copied gradients and weights."""
        self._last = _LastIteration({}, {}, 0)
        if "weights" in state and len(state["weights"]) == len(self.params):
            self._last = _LastIteration(
                tensors_from_list(self.params, state["grads"]),
                tensors_from_list(self.params, state["weights"]),
                int(state["size"]),
            )


def _own_loss(model: nn.Module) -> Optional[str]:
    """Return why the loss of a training step is not that of the model's call."""
    if "train_step" in vars(model):
        return "its train_step is compiled, into which no part of a batch can be put"
    own = getattr(type(model), "train_step", BaseModel.train_step)
    if own is not BaseModel.train_step:
        return f"{type(model).__name__} has its own train_step, whose loss may differ"
    return None


class _LastIteration(NamedTuple):
    """Gradients and weights of the last iteration before its update, and its images."""

    grads: GradientDict
    weights: Dict[Tensor, Tensor]
    size: int


class _PartOfBatch(NamedTuple):
    """Arguments of a model's call with a part of a batch, and the images in it."""

    model: nn.Module
    args: Any
    kwargs: Any
    size: int
