"""AGVM refuses models whose gradients are sharded."""

import pytest
from torch import nn

from mms_plugin.agvm.sharded_gradients import refuse_sharding, sharding_error


def test_a_sharded_model_is_refused():
    refuse_sharding(nn.Linear(1, 1))
    engine = type("MMDeepSpeedEngineWrapper", (nn.Linear,), {})(1, 1)
    with pytest.raises(ValueError, match="which DeepSpeed shards"):
        refuse_sharding(engine)
    assert "MMDistributedDataParallel" in str(sharding_error("FSDP"))
