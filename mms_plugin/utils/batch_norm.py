"""Estimate batch norm's running statistics again, with fixed weights."""

from __future__ import annotations

from typing import Any, Callable, Iterable, List, Optional

import torch
from mmengine.dist import all_reduce
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from .model_state import kept_model_state

__all__ = ["estimate_batch_norm", "has_batch_norm"]


def has_batch_norm(model: nn.Module) -> bool:
    """Return whether a model has batch norm with running statistics."""
    return any(map(_has_statistics, model.modules()))


def estimate_batch_norm(
    model: nn.Module, batches: Iterable[Any], run: Callable[[Any], Any]
) -> int:
    """Replace running statistics by their means over batches, of all ranks together.

    The weights, all other buffers and the gradients stay as they are. Layers whose
    statistics do not follow the batches in training (``norm_eval=True``) keep theirs,
    and so do layers that no batch reaches.

    Args:
        model: The model, not wrapped. It is put into training mode meanwhile.
        batches: As many on each rank.
        run: Runs the model on a batch. No gradients are computed.

    Returns:
        int: Number of layers with new statistics.

    Raises:
        Exception: That of ``run`` or ``batches``, on the rank that it happened on, and
            a ``RuntimeError`` on the others. The statistics are then the old ones.
    """
    failure: Optional[Exception] = None
    with kept_model_state(model), torch.no_grad():
        model.train()
        norms = _tracking_norms(model)
        if not norms:
            return 0
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean
        try:
            for batch in batches:
                run(batch)
        except Exception as error:  # the other ranks must not wait for this one
            failure = error
        finally:
            for norm, momentum in zip(norms, momenta):
                norm.momentum = momentum
        sums = [_weighted_statistics(norm) for norm in norms]
    flat = torch.cat([sums[0].new_tensor([failure is not None]), *sums])
    all_reduce(flat, "sum")
    if failure is not None:
        raise failure
    if flat[0] > 0:
        raise RuntimeError("it failed on another rank")
    updated = 0
    for norm, total in zip(norms, flat[1:].split([len(each) for each in sums])):
        if total[0] > 0:
            mean, var = (total[1:] / total[0]).chunk(2)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var)
            updated += 1
    return updated


def _tracking_norms(model: nn.Module) -> List[Any]:
    """Return the layers whose running statistics follow the batches."""
    return [m for m in model.modules() if m.training and _has_statistics(m)]


def _has_statistics(module: nn.Module) -> bool:
    return isinstance(module, _BatchNorm) and module.running_mean is not None


def _weighted_statistics(norm: Any) -> torch.Tensor:
    """Return the number of batches, and mean and variance times this number."""
    count = norm.num_batches_tracked
    statistics = torch.cat([norm.running_mean, norm.running_var])
    return torch.cat([count.to(statistics).reshape(1), count * statistics])
