"""Sharded models are recognized by their classes."""

import pytest
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mms_plugin.utils.sharding import sharding_of


def of_class(name, module="elsewhere", base=nn.Linear):
    """Return a small model of a class of this name."""
    return type(name, (base,), dict(__module__=module))(1, 1)


@pytest.mark.parametrize(
    "model, strategy",
    [
        (lambda: nn.Linear(1, 1), None),
        (lambda: nn.DataParallel(nn.Linear(1, 1)), None),
        (lambda: of_class("MMFullyShardedDataParallel"), "FSDP"),
        (lambda: of_class("FSDPLinear", base=type(of_class("FSDPModule"))), "FSDP"),
        (lambda: of_class("MMDeepSpeedEngineWrapper"), "DeepSpeed"),
        (lambda: of_class("Engine", "deepspeed.runtime.engine"), "DeepSpeed"),
        (lambda: of_class("CollosalAIModelWrapper"), "ColossalAI"),
        (lambda: of_class("Any", "colossalai.booster"), "ColossalAI"),
    ],
)
def test_what_shards_it(model, strategy):
    assert sharding_of(model()) == strategy


def test_torchs_own_class_is_known_by_this_name():
    assert FullyShardedDataParallel.__name__ == "FullyShardedDataParallel"
