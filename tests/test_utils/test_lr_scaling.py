import math

import pytest

from mms_plugin.utils.lr_scaling import LR_SCALING_POWERS, lr_factor, scaled_lr


def test_factors_by_hand():
    assert lr_factor(16.0, "linear") == 16.0
    assert lr_factor(16.0, "sqrt") == 4.0
    assert lr_factor(0.3, "sqrt") == pytest.approx(math.sqrt(0.3), rel=1e-15)
    assert set(LR_SCALING_POWERS) == {"linear", "sqrt"}
    assert all(lr_factor(1.0, rule) == 1.0 for rule in LR_SCALING_POWERS)


def test_learning_rates_by_hand():
    assert scaled_lr(0.02, 64, 16) == 0.08
    assert scaled_lr(0.02, 64, 16, "sqrt") == 0.04
    assert scaled_lr(0.02, 4, 16, "linear") == 0.005


@pytest.mark.parametrize(
    "arguments, words",
    [
        ((0, 16), "lr_scaling: batch_size must be an integer of at least 1.*got 0"),
        ((16, 2.5), "lr_scaling: base_batch_size must be an integer.*got 2.5"),
        ((16, 16, "log"), "lr_scaling: rule must be 'sqrt' or 'linear', but.*'log'"),
        ((16, 16, None), "rule must be.*None"),
    ],
)
def test_wrong_arguments(arguments, words):
    with pytest.raises(ValueError, match=words):
        scaled_lr(0.1, *arguments)
