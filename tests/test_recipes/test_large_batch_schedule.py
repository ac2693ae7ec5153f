"""The learning-rate schedule of the large-batch recipe."""

import pytest
import torch
from large_batch_toys import told_by, toy
from mmengine.registry import PARAM_SCHEDULERS

from mms_plugin.recipes import apply_recipes


def rates_of(schedulers, lr, iterations):
    """Learning rates as MMEngine's schedulers by iteration make them."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    built = [
        PARAM_SCHEDULERS.build(dict(each), default_args=dict(optimizer=optimizer))
        for each in schedulers
    ]
    rates = []
    for _ in range(iterations):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    "own",
    [
        dict(type="PolyLR", eta_min=1e-2, power=0.9, begin=0, end=800),
        dict(type="CosineAnnealingLR", eta_min=1e-2, T_max=800, end=800),
        dict(type="CosineAnnealingLR", eta_min_ratio=0.1, begin=0, end=800),
    ],
)
def test_the_rate_after_the_warm_up_is_that_of_the_schedule(own):
    config = toy()
    config.train_cfg = dict(type="IterBasedTrainLoop", max_iters=800)
    config.param_scheduler = [dict(own, by_epoch=False)]
    options = dict(batch_size=8, keep="iterations", num_samples=100)
    config = apply_recipes(config, "agvm", options)
    assert config.optim_wrapper.optimizer.lr == pytest.approx(0.2)
    rates = rates_of(config.param_scheduler, 0.2, 800)
    # 200 updates of four iterations, an eighth of which warm up.
    assert max(rates) == rates[100] == pytest.approx(0.2)
    assert rates[50] == pytest.approx(0.2 * 0.001**0.5)
    assert rates[-1] == pytest.approx(0.02, rel=0.01)
    # Half way down after half of the rest, but for PolyLR, which is above it.
    half = 0.11 if own["type"] != "PolyLR" else 0.02 + 0.18 * 0.5**0.9
    assert rates[450] == pytest.approx(half, rel=0.01)


def test_a_schedule_by_epoch_that_begins_with_the_warm_up_is_told():
    config = toy()
    config.param_scheduler = [dict(type="CosineAnnealingLR", T_max=3, eta_min=1e-3)]
    text = "\n".join(told_by(config, batch_size=8, num_samples=100))
    assert "CosineAnnealingLR with eta_min, begins with the warm-up" in text
