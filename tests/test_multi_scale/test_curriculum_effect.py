"""Settings of a curriculum without effect; on runners: tests/test_hooks."""

import pytest

from mms_plugin.multi_scale import GrowingSizes, ResolutionCurriculum
from mms_plugin.multi_scale.curriculum_effect import (
    even_fractions,
    explain_without_effect,
)


def explain(fractions, by_epoch, **kwargs):
    curriculum = ResolutionCurriculum(**{"start_sizes": [4], **kwargs})
    growing = GrowingSizes(4, 8, [4, 6, 8])
    growing.set_curriculum(curriculum)

    def sizes_at(fraction):
        return growing.distribution(fraction).sizes

    return explain_without_effect(curriculum, sizes_at, fractions, by_epoch)


@pytest.mark.parametrize("count", [1, 2, 7, 4096, 4097, 100_000])
def test_even_fractions(count):
    fractions = even_fractions(count)
    assert fractions[0] == 0 and fractions[-1] == (count - 1) / count
    assert fractions == sorted(set(fractions)) and len(fractions) <= 4097
    if count <= 4096:
        assert fractions == [i / count for i in range(count)]


def test_the_largest_size_is_drawn_or_not():
    thirds = [0, 1 / 3, 2 / 3]
    text = explain(thirds, True, end=0.8)
    assert "never draws 8x8" in text and "end to at most 0.66" in text
    assert explain(thirds, True, end=0.66) is None
    assert explain(even_fractions(100), False, end=0.8) is None
    assert "end to less than 1" in explain(even_fractions(100), False, end=1.0)


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(schedule="constant"), "schedule='constant' draws from the end sizes"),
        (dict(end=0.0), "never draws from its start sizes only"),
        (dict(start_sizes=[4, 6, 8]), "nothing to grow"),
        (dict(begin=0.45, end=0.46), "begin and end further apart"),
    ],
)
def test_each_reason_says_what_to_set(kwargs, says):
    assert says in explain([0, 0.25, 0.5, 0.75], True, **kwargs)
