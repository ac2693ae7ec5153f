"""The learning rate of one iteration by its batch size."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict

from mms_plugin.multi_scale.batch_lr_scaling import BatchLrScaling


def runner(accumulative_counts=1, wrappers=1):
    def wrapper(lr):
        weight = torch.nn.Parameter(torch.zeros(1))
        optimizer = torch.optim.SGD([weight], lr=lr)
        return OptimWrapper(optimizer, accumulative_counts=accumulative_counts)

    built = [wrapper(0.1 * (i + 1)) for i in range(wrappers)]
    if wrappers > 1:
        whole = OptimWrapperDict(**{str(i): each for i, each in enumerate(built)})
    else:
        whole = built[0]
    return SimpleNamespace(optim_wrapper=whole, iter=0), built


def rates(wrappers):
    return [w.optimizer.param_groups[0]["lr"] for w in wrappers]


@pytest.mark.parametrize(
    "rule, factors", [("none", (1, 1)), ("sqrt", (2, 0.5)), ("linear", (4, 0.25))]
)
def test_rules(rule, factors):
    scaling = BatchLrScaling(rule)
    made, wrappers = runner(wrappers=2)
    for ratio, factor in zip((4.0, 0.25), factors):
        scaling.scale(made, ratio)
        assert rates(wrappers) == pytest.approx([0.1 * factor, 0.2 * factor])
        scaling.restore()
        assert rates(wrappers) == [0.1, 0.2]
        made.iter += 1


def test_with_accumulation_the_mean_counts():
    scaling = BatchLrScaling("linear")
    made, wrappers = runner(accumulative_counts=2)
    # Means of (4), (4, 2), (1), (1, 5).
    for ratio, expected in ((4.0, 4), (2.0, 3), (1.0, 1), (5.0, 3)):
        scaling.scale(made, ratio)
        assert rates(wrappers) == pytest.approx([0.1 * expected])
        scaling.restore()
        made.iter += 1


def test_wrappers_of_several_optimizers_accumulate_each_for_itself():
    scaling = BatchLrScaling("linear")
    made, wrappers = runner(accumulative_counts=2, wrappers=2)
    wrappers[1]._accumulative_counts = 3
    expected = [(4, 4), (3, 3), (1, 7 / 3), (3, 5)]
    for ratio, factors in zip((4.0, 2.0, 1.0, 5.0), expected):
        scaling.scale(made, ratio)
        assert rates(wrappers) == pytest.approx([0.1 * factors[0], 0.2 * factors[1]])
        scaling.restore()
        made.iter += 1


def test_an_unknown_rule():
    with pytest.raises(ValueError, match=r"one of \['none', 'sqrt', 'linear'\].*'x'"):
        BatchLrScaling("x")
