import pytest

from mms_plugin.utils.si_prefix import si_prefix, si_text


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


def test_a_value_with_its_unit():
    assert si_text(4.0891e12, "FLOPs") == "4.089 TFLOPs"
    assert si_text(12.5, "px") == "12.5 px"
