"""Models whose gradients are spread over processes."""

from __future__ import annotations

from torch import nn

__all__ = ["refuse_sharding", "sharding_error"]


def refuse_sharding(model: nn.Module) -> None:
    """Raises ``ValueError`` for a model whose gradients are spread over processes."""
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
            raise sharding_error(sharded)
    if any(type(param).__name__ == "DTensor" for param in model.parameters()):
        raise sharding_error("sharded tensors (FSDP2 or tensor parallelism)")


def sharding_error(strategy: str) -> ValueError:
    return ValueError(
        f"AGVM compares whole gradients, which {strategy} shards over the processes. "
        "Train with MMDistributedDataParallel, or with another optim_wrapper."
    )
