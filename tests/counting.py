"""Work counted instead of timed: the same on every machine, busy or not."""

import sys


def count_calls(function):
    """Return the number of Python and C functions that ``function()`` calls."""
    count = 0

    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count
