"""Models of several processes, on a process group of one."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mms_plugin.dry_run.data_parallel import (
    check_model,
    finds_unused_parameters,
    without_gradient_exchange,
)


@pytest.fixture
def wrap(tmp_path):
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield lambda **kwargs: DistributedDataParallel(nn.Linear(2, 1), **kwargs)
    dist.destroy_process_group()


def test_plain_models_pass():
    check_model(nn.Linear(2, 1))
    assert not finds_unused_parameters(nn.Linear(2, 1))


def test_wrapped_models(wrap):
    check_model(wrap())
    assert not finds_unused_parameters(wrap())
    assert finds_unused_parameters(nn.Sequential(wrap(find_unused_parameters=True)))
    with pytest.raises(ValueError, match="static_graph=True learns it"):
        check_model(nn.Sequential(wrap(static_graph=True)))


def test_sharded_models_are_refused():
    sharded = type("MMFullyShardedDataParallel", (nn.Linear,), {})(2, 1)
    with pytest.raises(ValueError, match="FSDP shards over the processes: remove"):
        check_model(sharded)


def test_gradients_are_not_exchanged(wrap):
    model, calls = wrap(), []

    def hook(state, bucket):
        calls.append(bucket.buffer().clone())
        future = torch.futures.Future()
        future.set_result(bucket.buffer())
        return future

    model.register_comm_hook(None, hook)
    with without_gradient_exchange(model):
        model(torch.ones(1, 2)).sum().backward()
    assert not calls and model.module.weight.grad is not None
    model(torch.ones(1, 2)).sum().backward()
    assert calls
