import torch
from torch import nn

from mms_plugin.agvm.param_groups import (
    module_table,
    split_groups,
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
