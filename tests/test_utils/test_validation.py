"""What counts as an integer and as a number."""

import math
from fractions import Fraction

import numpy as np
import pytest

from mms_plugin.utils.validation import (
    is_integer,
    is_number,
    parse_bool,
    parse_int,
)


@pytest.mark.parametrize("value", [0, -3, 10**30, np.int8(2), np.uint64(5)])
def test_integers(value):
    assert is_integer(value) and is_number(value)


@pytest.mark.parametrize("value", [True, np.bool_(True), 2.0, "2", None, [2]])
def test_no_integers(value):
    assert not is_integer(value)
    with pytest.raises(ValueError, match="size must be an integer of at least 1"):
        parse_int(value, "size")


@pytest.mark.parametrize("value", [0.5, -math.inf, np.float32(2), Fraction(1, 3)])
def test_numbers(value):
    assert is_number(value)


@pytest.mark.parametrize("value", [math.nan, np.nan, True, "1", None, 1j])
def test_no_numbers(value):
    assert not is_number(value)


def test_the_smallest_value():
    assert parse_int(3, "size", minimum=3) == 3
    assert parse_int(0, "size", minimum=0) == 0
    with pytest.raises(ValueError) as caught:
        parse_int(2, "size", minimum=3)
    assert str(caught.value) == "size must be an integer of at least 3, but got 2"


def test_numpys_integers_become_plain_ones():
    assert type(parse_int(np.int64(7), "size")) is int


@pytest.mark.parametrize("value", [True, np.bool_(True), 1, np.int8(1)])
def test_switches(value):
    assert parse_bool(value, "drop_last") is True
    assert parse_bool(type(value)(0), "drop_last") is False


@pytest.mark.parametrize("value", ["no", "False", "", None, 2, 1.0, []])
def test_no_switches(value):
    with pytest.raises(ValueError) as caught:
        parse_bool(value, "drop_last")
    assert str(caught.value) == f"drop_last must be True or False, but got {value!r}"
