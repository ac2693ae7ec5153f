"""Iterations that work as the training's and leave the weights."""

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from mms_plugin.dry_run.trial_updates import (
    accumulated_iterations,
    start_at,
    stop_learning,
    update_iterations,
)


def wrapper(model, counts=1, cls=torch.optim.AdamW):
    return OptimWrapper(cls(model.parameters(), lr=0.1), accumulative_counts=counts)


def test_weights_stay_while_the_optimizer_works():
    model = nn.Linear(2, 1)
    optim_wrapper = OptimWrapperDict(a=wrapper(model))
    before = model.weight.detach().clone()
    stop_learning(optim_wrapper)
    optim_wrapper["a"].update_params(model(torch.ones(1, 2)).sum())
    assert torch.equal(model.weight, before)
    state = optim_wrapper["a"].optimizer.state
    assert state[model.weight]["exp_avg"].abs().sum() > 0


def test_the_loss_scale_lets_gradients_pass():
    optim_wrapper = wrapper(nn.Linear(2, 1))
    optim_wrapper.loss_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    stop_learning(optim_wrapper)
    assert optim_wrapper.loss_scaler.get_scale() == 1.0


@pytest.mark.parametrize("counts, expected", [(1, (0, 1)), (2, (0, 2)), (5, (3, 2))])
def test_the_last_iterations_of_an_update(counts, expected):
    optim_wrapper = wrapper(nn.Linear(2, 1), counts)
    assert update_iterations(optim_wrapper) == expected
    assert accumulated_iterations(optim_wrapper) == counts


def test_a_wrapper_that_measures_says_when():
    optim_wrapper = wrapper(nn.Linear(2, 1), 4)
    optim_wrapper.measuring_iterations = lambda: (7, 3)
    assert update_iterations(optim_wrapper) == (7, 3)
    optim_wrapper.measuring_iterations = lambda: None
    assert update_iterations(optim_wrapper) == (2, 2)


def test_the_count_decides_when_an_update_comes():
    model = nn.Linear(2, 1)
    optim_wrapper = wrapper(model, 3)
    for iteration, updates in ((0, False), (1, False), (2, True)):
        start_at(optim_wrapper, iteration)
        optim_wrapper.optimizer.state.clear()
        optim_wrapper.update_params(model(torch.ones(1, 2)).sum())
        assert bool(optim_wrapper.optimizer.state) == updates
