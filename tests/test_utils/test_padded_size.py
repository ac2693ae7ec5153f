from types import SimpleNamespace

import pytest

from mms_plugin.utils.padded_size import padded_size


@pytest.mark.parametrize(
    ("divisor", "padded"),
    [(32, (64, 96)), (1, (33, 96)), (None, (33, 96))],
)
def test_sides_are_rounded_up_to_the_divisor(divisor, padded):
    preprocessor = SimpleNamespace(pad_size_divisor=divisor)
    model = SimpleNamespace(data_preprocessor=preprocessor)
    assert padded_size(model, (33, 96)) == padded
    # Or of an object with the divisor itself.
    assert padded_size(preprocessor, (33, 96)) == padded


def test_without_a_divisor_nothing_is_padded():
    assert padded_size(SimpleNamespace(), (33, 95)) == (33, 95)
