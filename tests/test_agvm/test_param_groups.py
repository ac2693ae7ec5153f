import pytest
import torch
from torch import nn

from mms_plugin.agvm.param_groups import (
    count_trainable,
    module_table,
    split_groups,
    split_saved_groups,
)


def test_groups_are_refined_in_order():
    a, b, c, d = (nn.Parameter(torch.ones(1)) for _ in range(4))
    owner = {a: "one", b: "two", c: "one", d: "one"}
    groups = split_groups(
        [
            dict(params=[a, b, c], lr=1, param_names=["a", "b", "c"]),
            dict(params=[d], lr=2, param_names=["d"]),
        ],
        owner,
    )
    assert groups == [
        dict(params=[a], lr=1, param_names=["a"], agvm_module="one"),
        dict(params=[b], lr=1, param_names=["b"], agvm_module="two"),
        dict(params=[c], lr=1, param_names=["c"], agvm_module="one"),
        dict(params=[d], lr=2, param_names=["d"], agvm_module="one"),
    ]


def test_a_parameter_twice_in_a_group_counts_once():
    a, b = (nn.Parameter(torch.ones(1)) for _ in range(2))
    groups = split_groups([dict(params=[a, b, a])], {a: "one", b: "one"})
    assert groups == [dict(params=[a, b], agvm_module="one")]


def test_the_table():
    a, b = nn.Parameter(torch.ones(1000, 2)), nn.Parameter(torch.ones(3))
    frozen = nn.Parameter(torch.ones(5), requires_grad=False)
    table = module_table(
        [
            dict(params=[a, frozen], agvm_module="backbone"),
            dict(params=[b], agvm_module="head"),
        ],
        ["backbone"],
    )
    assert [line.split() for line in table.splitlines()] == [
        ["module", "tensors", "parameters", "groups"],
        ["backbone", "1", "2,000", "1", "anchor"],
        ["head", "1", "3", "1"],
    ]


def _split(sizes, **options):
    """Groups of an optimizer: ``(module, number of parameters)`` each."""
    return [
        dict(params=[nn.Parameter(torch.ones(2))] * count, agvm_module=name, **options)
        for name, count in sizes
    ]


def test_saved_groups_are_split_in_the_order_of_their_parameters():
    saved = [dict(params=[0, 1, 2], lr=1.0), dict(params=[3], lr=2.0, extra="x")]
    groups = _split([("backbone", 1), ("neck", 2), ("backbone", 1)], lr=9.0)
    assert split_saved_groups(saved, groups) == [
        dict(params=[0], lr=1.0, agvm_module="backbone"),
        dict(params=[1, 2], lr=1.0, agvm_module="neck"),
        dict(params=[3], lr=2.0, extra="x", agvm_module="backbone"),
    ]
    assert saved == [
        dict(params=[0, 1, 2], lr=1.0),
        dict(params=[3], lr=2.0, extra="x"),
    ]


def test_saved_groups_get_the_modules_and_names_of_the_optimizer():
    saved = [
        dict(params=[0], lr=1.0, agvm_module="old", param_names=["old"]),
        dict(params=[1], lr=2.0, agvm_module="neck", param_names=["old"]),
    ]
    groups = _split([("new", 2)])
    groups[0]["param_names"] = ["one", "two"]
    expected = dict(
        params=[0, 1], lr=1.0, agvm_module="new", param_names=["one", "two"]
    )
    assert split_saved_groups(saved, groups) == [expected]


@pytest.mark.parametrize("count", [1, 3])
def test_saved_groups_of_another_model(count):
    words = f"has 2 parameters, but the optimizer has {count}.*another model"
    with pytest.raises(ValueError, match=words):
        split_saved_groups([dict(params=[0, 1])], _split([("backbone", count)]))


def test_trainable_numbers_of_each_module():
    a, b = nn.Parameter(torch.ones(5, 2)), nn.Parameter(torch.ones(3))
    frozen = nn.Parameter(torch.ones(7), requires_grad=False)
    groups = [
        dict(params=[a, frozen], agvm_module="backbone"),
        dict(params=[b], agvm_module="backbone"),
        dict(params=[frozen], agvm_module="neck"),
    ]
    assert count_trainable(groups) == dict(backbone=13, neck=0)
