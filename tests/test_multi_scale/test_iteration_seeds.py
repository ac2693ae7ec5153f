"""Random numbers of a model, by the iteration."""

import random

import numpy as np
import torch

from mms_plugin.multi_scale.iteration_seeds import seed_iteration


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_they_depend_on_the_seed_and_the_iteration_only(make_runner):
    runner = make_runner()
    runner.train_loop._iter = 3
    seed_iteration(runner, 7)
    first = draws()
    draws()
    seed_iteration(runner, 7)
    assert draws() == first
    seed_iteration(runner, 8)
    assert draws() != first
    runner.train_loop._iter = 4
    seed_iteration(runner, 7)
    assert draws() != first
