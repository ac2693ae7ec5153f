"""Dynamo's limits grow by the shapes of a training's batches."""

import pytest
import toys
from torch._dynamo import config

from mms_plugin.dry_run.recompile_limit import compiled_shapes, raised_limits


@pytest.mark.parametrize(
    "train_cfg, loader, shapes",
    [
        # Five sizes, and a batch that is cut at the end of each epoch.
        (dict(by_epoch=True, max_epochs=3), dict(), 8),
        (dict(by_epoch=True, max_epochs=3), dict(drop_last=True), 5),
        (
            dict(by_epoch=False, max_iters=30),
            dict(sampler=dict(type="InfiniteSampler")),
            5,
        ),
    ],
    ids=["epochs", "drop_last", "endless"],
)
def test_shapes(make_runner, train_cfg, loader, shapes):
    runner = make_runner(
        train_dataloader=toys.train_dataloader(**loader), train_cfg=train_cfg
    )
    loop = runner.build_train_loop(runner.cfg.train_cfg)
    assert compiled_shapes(loop) == shapes


def test_both_limits_are_raised():
    limits = raised_limits(7)
    assert len(limits) == 2
    assert all(limit == getattr(config, name) + 7 for name, limit in limits.items())
