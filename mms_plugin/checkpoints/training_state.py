"""Restore everything that training iterations change."""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor, nn

from ..multi_scale.runner_parts import plain_optim_wrappers
from ..utils.random_state import kept_random_states

__all__ = ["kept_training_state"]

_PutBack = Callable[[], Any]

_Known = Dict[int, Tuple[Any, _PutBack]]
"""``(object, function that restores it)`` by ``id`` of the object. Kept alive here, no
other object can get its ``id``."""


@contextmanager
def kept_training_state(
    model: nn.Module, optim_wrapper: Any, message_hub: Optional[MessageHub] = None
) -> Iterator[None]:
    """Restore what training iterations change, after an error too.

    These are weights, buffers, gradients and training flags; numbers, tensors and plain
    containers of these that modules hold as attributes, such as a list of past losses;
    the optimizers' state; the optimizer wrapper's counters, loss scaler and AGVM's
    state; the message hub; the random states of Python, NumPy and torch. Tensors and
    containers come back as the same objects. What a model keeps in objects of another
    kind is not restored.

    The copies take host memory, and no memory of an accelerator. For a forward and
    backward pass without an optimizer's step,
    :func:`~mms_plugin.utils.model_state.kept_model_state` copies less.

    Args:
        model: Wrapped or not.
        optim_wrapper: An optimizer wrapper, or an ``OptimWrapperDict``.
        message_hub: Its logged values are restored. Defaults to none.
    """
    known: _Known = {}
    put_back: List[_PutBack] = []
    for module in model.modules():
        put_back.append(_kept(vars(module), known))
    for param in model.parameters():
        put_back.append(_kept_gradient(param, known))
    for owner in _owners(optim_wrapper):
        put_back.append(_kept(vars(owner), known))
    if message_hub is not None:
        put_back.append(_kept(vars(message_hub), known))
    with kept_random_states(param.device for param in model.parameters()):
        try:
            yield
        finally:
            with torch.no_grad():
                for back in put_back:
                    back()


def _owners(optim_wrapper: Any) -> Iterator[Any]:
    """Yield the optimizer wrappers and what they hold state in."""
    yield optim_wrapper
    for wrapper in plain_optim_wrappers(optim_wrapper):
        if wrapper is not optim_wrapper:
            yield wrapper
        for value in vars(wrapper).values():
            # The optimizer, a loss scaler, AGVM and its source of halves.
            if hasattr(value, "state_dict") and not isinstance(
                value, (nn.Module, MessageHub)
            ):
                yield value


def _kept_gradient(param: nn.Parameter, known: _Known) -> _PutBack:
    """Return a function that restores the gradient of a parameter."""
    grad = param.grad
    value = None if grad is None else _kept(grad, known)

    def put_back() -> None:
        param.grad = grad
        if value is not None:
            value()

    return put_back


def _kept(value: Any, known: _Known) -> _PutBack:
    """Return a function that restores ``value`` and returns it, the same object."""
    if id(value) in known:
        return known[id(value)][1]
    # Entered before its content is visited, which may contain the object itself.
    known[id(value)] = (value, lambda: value)
    put_back = _way_back(value, known)
    if put_back is None:
        return known[id(value)][1]
    known[id(value)] = (value, put_back)
    return put_back


def _way_back(value: Any, known: _Known) -> Optional[_PutBack]:
    """Return a function that restores a mutable object; ``None`` for all others."""
    if isinstance(value, Tensor):
        return _kept_tensor(value)
    if isinstance(value, np.ndarray):
        if not value.flags.writeable:
            return None
        content = value.copy()

        def fill_array() -> np.ndarray:
            value[...] = content
            return value

        return fill_array
    if isinstance(value, HistoryBuffer):
        inside = _kept(vars(value), known)

        def fill_buffer() -> HistoryBuffer:
            inside()
            return value

        return fill_buffer
    if isinstance(value, dict):
        # Not by own methods: a ConfigDict, as which MMEngine makes param groups,
        # converts what it is given.
        kind = OrderedDict if isinstance(value, OrderedDict) else dict
        items = {key: _kept(item, known) for key, item in kind.items(value)}

        def fill_dict() -> Any:
            for key in [key for key in kind.keys(value) if key not in items]:
                kind.__delitem__(value, key)
            for key, item in items.items():
                kind.__setitem__(value, key, item())
            return value

        return fill_dict
    if type(value) in (list, deque, set) or isinstance(value, tuple):
        members = [_kept(member, known) for member in value]

        def fill() -> Any:
            content = [member() for member in members]
            if isinstance(value, tuple):
                return value  # its members have been filled
            value.clear()
            (value.update if isinstance(value, set) else value.extend)(content)
            return value

        return fill
    return None


def _kept_tensor(tensor: Tensor) -> Optional[_PutBack]:
    """Return a function that restores a tensor; ``None`` if it cannot be written to."""
    repeats = tensor.layout == torch.strided and any(
        stride == 0 and length > 1
        for stride, length in zip(tensor.stride(), tensor.shape)
    )
    if tensor.device.type == "meta" or repeats:
        return None
    content = tensor.detach().to("cpu", copy=True)

    def fill_tensor() -> Tensor:
        if tensor.shape == content.shape:
            tensor.copy_(content)
        else:
            tensor.data = content.to(tensor.device)
        return tensor

    return fill_tensor
