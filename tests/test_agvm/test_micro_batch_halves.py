"""One process with accumulation: halves of the micro-batches."""

import numpy as np
import pytest
from agvm_toy import (
    TOY_MODULES,
    build,
    gradients_in_float64,
    make_toy,
    toy_batch,
    train,
    train_iteration,
    weights,
)
from numpy_agvm import NumpyAGVM

SGD = dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-3)
NESTEROV = dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True)
ADAMW = dict(type="AdamW", lr=0.01, weight_decay=0.05)


@pytest.mark.parametrize("optimizer", [SGD, NESTEROV, ADAMW], ids=["SGD", "N", "AdamW"])
@pytest.mark.parametrize("counts", [2, 3, 4])
def test_micro_batches_agree_with_numpy(optimizer, counts):
    model = make_toy()
    reference = NumpyAGVM(
        weights(model), TOY_MODULES, optimizer, interval=2, momentum=0.5
    )
    wrapper = build(model, optimizer, dict(interval=2), accumulative_counts=counts)
    updates = 5
    wrapper.initialize_count_status(model, 0, updates * counts)
    for update in range(updates):
        batches = [toy_batch(update * counts + i) for i in range(counts)]
        grads = [gradients_in_float64(model, batch) for batch in batches]
        middle = (counts + 1) // 2
        reference.step(grads[:middle], grads[middle:])
        for batch in batches:
            train_iteration(model, wrapper, batch)
        assert wrapper.agvm.multipliers == pytest.approx(reference.mu, rel=1e-3)
        assert wrapper.agvm.variances == pytest.approx(reference.phi, rel=1e-3)
    for name, weight in weights(model).items():
        np.testing.assert_allclose(
            weight, reference.weights[name], rtol=1e-3, atol=1e-5
        )
    assert wrapper.agvm.num_measured == 3


def test_the_last_update_may_have_fewer_micro_batches():
    model = make_toy()
    wrapper = build(model, accumulative_counts=4)
    train(model, wrapper, [toy_batch(i) for i in range(4 + 3)])
    assert wrapper.agvm.num_measured == 2
    model = make_toy()
    wrapper = build(model, accumulative_counts=4)
    train(model, wrapper, [toy_batch(i) for i in range(4 + 1)])
    assert wrapper.agvm.num_measured == 1  # a single micro-batch has no halves


def test_a_training_resumed_within_an_update_measures_at_the_next_whole_one():
    model = make_toy()
    wrapper = build(model, accumulative_counts=4)
    train(model, wrapper, [toy_batch(i) for i in range(6)], start=2, total=100)
    assert wrapper.agvm.num_measured == 1
