"""The plan of an epoch at a fixed size."""

from mms_plugin.analysis import fixed_size_plan


def test_fixed_size_by_hand():
    assert fixed_size_plan(10, 4, (6, 5)) == [(6, 5, 4), (6, 5, 4), (6, 5, 2)]
    assert fixed_size_plan(10, 4, (6, 5), drop_last=True) == [(6, 5, 4), (6, 5, 4)]
    assert fixed_size_plan(8, 4, (6, 5)) == [(6, 5, 4), (6, 5, 4)]
