"""Scale learning rates by AGVM's multipliers during one step of the optimizer."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Tuple

from torch import Tensor
from torch.optim import Optimizer

__all__ = ["modulated_lr"]


@contextmanager
def modulated_lr(
    optimizer: Optimizer,
    lr_multiplier: Callable[[str], float],
    momentum_includes_lr: bool = False,
) -> Iterator[None]:
    """Scale the learning rate of each module, and restore it afterwards.

    Args:
        optimizer: Its param groups name their module as ``'agvm_module'``.
        lr_multiplier: Gives the factor of a module by its name.
        momentum_includes_lr: Whether the momentum buffers contain the learning rate,
            as those of LARS do. Then they are scaled along, so that the whole update
            is; between steps they contain the unscaled one. Defaults to False.
    """
    scaled: List[Tuple[Dict[str, Any], Any, float]] = []
    try:
        for group in optimizer.param_groups:
            multiplier = lr_multiplier(group["agvm_module"])
            if multiplier == 1.0:
                continue
            scaled.append((group, group["lr"], multiplier))
            # Not in place: a learning rate that is a tensor may be shared by groups.
            group["lr"] = group["lr"] * multiplier
            if momentum_includes_lr:
                for buffer in _momentum_buffers(optimizer, group):
                    buffer.mul_(multiplier)
        yield
    finally:
        for group, lr, multiplier in scaled:
            group["lr"] = lr
            if momentum_includes_lr:  # also the buffers that this step has made
                for buffer in _momentum_buffers(optimizer, group):
                    buffer.div_(multiplier)


def _momentum_buffers(optimizer: Optimizer, group: Dict[str, Any]) -> List[Tensor]:
    states = (optimizer.state.get(param, {}) for param in group["params"])
    return [s["momentum_buffer"] for s in states if "momentum_buffer" in s]
