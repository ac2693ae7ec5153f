"""The lines of an error, from this process or from a worker."""

import pytest
from torch.utils.data import DataLoader

from mms_plugin.utils.error_text import first_line, message_lines, on_one_line


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
