"""Recognize models whose weights are sharded over processes."""

from __future__ import annotations

from typing import Optional

from torch import nn

__all__ = ["sharding_of"]


def sharding_of(model: nn.Module) -> Optional[str]:
    """Return what shards a model's weights over processes, such as ``'FSDP'``.

    Args:
        model: Wrapped or not.

    Returns:
        ``None`` for a model that is whole on every process.
    """
    for cls in type(model).__mro__:
        package = cls.__module__.split(".")[0]
        sharded = {
            "FullyShardedDataParallel": "FSDP",
            "FSDPModule": "FSDP",
            "MMFullyShardedDataParallel": "FSDP",
        }.get(cls.__name__)
        if package == "deepspeed" or cls.__name__ == "MMDeepSpeedEngineWrapper":
            sharded = "DeepSpeed"
        elif package == "colossalai" or cls.__name__ == "CollosalAIModelWrapper":
            sharded = "ColossalAI"
        if sharded:
            return sharded
    if any(type(param).__name__ == "DTensor" for param in model.parameters()):
        return "sharded tensors (FSDP2 or tensor parallelism)"
    return None
