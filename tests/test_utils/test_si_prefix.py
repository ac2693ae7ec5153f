import pytest

from mms_plugin.utils.si_prefix import si_prefix


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, (1.0, "")),
        (999_999, (1.0, "")),
        (1e6, (1e6, "M")),
        (2.5e9, (1e9, "G")),
        (1e12, (1e12, "T")),
        (3e15, (1e15, "P")),
        (7e21, (1e18, "E")),
    ],
)
def test_the_largest_prefix_below_the_value(value, expected):
    assert si_prefix(value) == expected
