"""One process without accumulation: the last batch and this one."""

import math

import numpy as np
import pytest
from agvm_toy import (
    build,
    gradients_in_float64,
    make_toy,
    module_vector,
    toy_batch,
    train_iteration,
)

SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-3)


def test_consecutive_iterations_agree_with_numpy():
    model = make_toy()
    settings = dict(interval=3, start_iter=2, single_process="consecutive")
    wrapper = build(model, SGD, settings)
    wrapper.initialize_count_status(model, 0, 9)
    mu, phi, previous = dict.fromkeys(wrapper.agvm.modules, 1.0), {}, None
    for iteration in range(9):
        batch = toy_batch(iteration)
        grad = gradients_in_float64(model, batch)
        train_iteration(model, wrapper, batch)
        if iteration in (2, 5, 8):
            for module in mu:
                a, b = module_vector(previous, module), module_vector(grad, module)
                whole = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                phi[module] = 2 * whole / (1 + whole)
            for module in mu:
                if module != "backbone":
                    ratio = (phi["backbone"] + 1e-6) / (phi[module] + 1e-6)
                    new = math.sqrt(min(10, max(0.5, ratio)))
                    mu[module] = 0.5 * mu[module] + 0.5 * new
        previous = grad
        assert wrapper.agvm.multipliers == pytest.approx(mu, rel=1e-3)
    assert wrapper.agvm.variances == pytest.approx(phi, rel=1e-3)
    assert wrapper.agvm.num_measured == 3
