import re

import pytest

from mms_plugin.agvm.clip_grad_range import explain_without_effect


@pytest.mark.parametrize(
    "begin, end, done, total, words",
    [
        (900, None, 0, 320, "never clips: begin=900.*320 iterations.*less than 320"),
        (320, 400, 0, 320, "never clips: begin=320"),
        (320, 400, 100, 320, "never clips: begin=320"),
        (5, 5, 0, 320, "never clips: no iteration.*end to more than 5"),
        (100, 321, 0, 320, "never stops clipping: end=321.*at most 320"),
    ],
)
def test_a_range_of_clipping_without_effect(begin, end, done, total, words):
    assert re.search(words, explain_without_effect(begin, end, done, total))


@pytest.mark.parametrize(
    "begin, end, done, total",
    [
        (0, None, 0, 320),
        (319, 320, 0, 320),
        (10, 20, 100, 320),  # resumed after it
        (900, None, 320, 320),  # nothing is left to be trained
    ],
)
def test_a_range_of_clipping_with_an_effect(begin, end, done, total):
    assert explain_without_effect(begin, end, done, total) is None
