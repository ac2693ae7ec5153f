"""The lines of an error, from this process or from a worker."""

import inspect

import pytest
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from mms_plugin import MultiScaleDataset
from mms_plugin.utils.error_text import (
    first_line,
    message_lines,
    on_one_line,
    place_of,
)


def test_empty_lines_are_left_out():
    assert message_lines("  one\n\n two \n") == ["one", "two"]
    assert message_lines(" \n") == []


def test_the_first_line_and_all_on_one():
    error = RuntimeError("\n one   two \n\tthree\n")
    assert (first_line(error), on_one_line(error)) == ("one   two", "one two three")
    assert first_line(OSError()) == on_one_line(OSError()) == "OSError"


class Broken:
    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise ValueError("picture.png is cut short")


def test_of_a_workers_error_only_the_last_line_counts():
    with pytest.raises(ValueError) as caught:
        next(iter(DataLoader(Broken(), num_workers=1)))
    assert len(str(caught.value).splitlines()) > 3
    assert message_lines(str(caught.value)) == ["ValueError: picture.png is cut short"]


class Forgetful(Broken):
    def __getitem__(self, index):
        return {}["images"]


@pytest.mark.parametrize("workers", [0, 1])
def test_the_place_of_a_slip_in_the_users_code(workers):
    line = inspect.getsourcelines(Forgetful.__getitem__)[1] + 1
    with pytest.raises(KeyError) as caught:
        next(iter(DataLoader(Forgetful(), num_workers=workers)))
    assert place_of(caught.value) == f"{__file__}:{line}, in __getitem__"


def test_errors_that_tell_enough_have_no_place():
    with pytest.raises(ValueError) as value:
        Broken()[0]
    with pytest.raises(KeyError) as absent:
        DATASETS.build(dict(type="NotRegistered"))
    with pytest.raises(TypeError) as argument:
        DATASETS.build(dict(type="ConcatDataset", other=1))
    with pytest.raises(TypeError) as own:
        MultiScaleDataset([1, 2], ann_file="a.json")
    for caught in (value, absent, argument, own):
        assert place_of(caught.value) == ""
    assert place_of(KeyError("never raised")) == ""
