"""Pipelines inside wrappers of transforms."""

import pytest

from mms_plugin.utils.nested_transforms import branches

A, B = dict(type="A"), dict(type="B")


@pytest.mark.parametrize(
    "name, inner, expected",
    [
        ("RandomChoice", [[A, B], A], [[A, B], [A]]),
        ("MultiView", [[A], [B]], [[A], [B]]),
        ("RandomApply", [A, B], [[A, B], []]),
        ("RandomApply", A, [[A], []]),
        ("TransformBroadcaster", [A, B], [[A, B]]),
        ("KeyMapper", None, []),
        ("Albu", [A], []),  # of another library
    ],
)
def test_branches(name, inner, expected):
    assert branches(name, dict(type=name, transforms=inner)) == expected
