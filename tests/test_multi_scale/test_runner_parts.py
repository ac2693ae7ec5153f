"""Parts of a runner that hooks look at."""

import pytest
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn, optim

from mms_plugin.multi_scale.runner_parts import (
    built_train_loop,
    loop_counts_iterations,
    multi_scale_sampler,
    plain_optim_wrappers,
    required_sampler,
)


def test_the_loop_and_its_sampler(make_runner):
    runner = make_runner()
    assert built_train_loop(runner) is None
    loop = runner.train_loop
    assert built_train_loop(runner) is loop
    assert not loop_counts_iterations(loop)
    sampler = loop.dataloader.batch_sampler
    assert multi_scale_sampler(loop.dataloader) is sampler
    assert required_sampler(loop, "SomeHook") is sampler


def test_a_loader_without_the_sampler(make_runner):
    runner = make_runner(
        train_dataloader=dict(
            batch_size=2,
            dataset=dict(type="ToyDataset", pipeline=[]),
            sampler=dict(type="DefaultSampler", shuffle=False),
        ),
        train_cfg=dict(by_epoch=False, max_iters=3),
    )
    loop = runner.train_loop
    assert loop_counts_iterations(loop) and multi_scale_sampler(loop.dataloader) is None
    with pytest.raises(ValueError, match="SomeHook needs.*but got BatchSampler"):
        required_sampler(loop, "SomeHook")


def test_optim_wrappers():
    one, two = (
        OptimWrapper(optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)) for _ in range(2)
    )
    assert plain_optim_wrappers(one) == [one]
    assert plain_optim_wrappers(OptimWrapperDict(a=one, b=two)) == [one, two]
