import math

import numpy as np
import pytest

from mms_plugin.multi_scale import ResolutionCurriculum, grown_sizes

SIZES = tuple((s, s) for s in (128, 160, 192, 224, 256, 288, 320))
START = ((128, 128), (160, 160))


@pytest.mark.parametrize(
    "kwargs, expected",
    [
        (dict(schedule="constant"), {0.0: 1.0, 0.5: 1.0, 1.0: 1.0}),
        (
            dict(schedule="linear"),
            {0.0: 0.0, 0.2: 0.25, 0.4: 0.5, 0.8: 1.0, 1.0: 1.0},
        ),
        (
            dict(schedule="linear", begin=0.5, end=1.0),
            {0.0: 0.0, 0.5: 0.0, 0.75: 0.5, 1.0: 1.0},
        ),
        (
            dict(schedule="cosine"),
            {0.0: 0.0, 0.2: (1 - math.sqrt(0.5)) / 2, 0.4: 0.5, 0.8: 1.0},
        ),
        (
            dict(schedule="step", milestones=[0.2, 0.6]),
            {0.0: 0.0, 0.19: 0.0, 0.2: 0.5, 0.59: 0.5, 0.6: 1.0, 1.0: 1.0},
        ),
        (
            dict(schedule="step"),
            {0.0: 0.0, 0.2: 0.25, 0.4: 0.5, 0.6: 0.75, 0.8: 1.0},
        ),
        (dict(schedule=lambda x: x * x), {0.0: 0.0, 0.4: 0.25, 0.8: 1.0}),
        (dict(begin=0.3, end=0.3), {0.2: 0.0, 0.3: 1.0, 0.4: 1.0}),
    ],
)
def test_growth(kwargs, expected):
    curriculum = ResolutionCurriculum(**kwargs)
    for fraction, growth in expected.items():
        assert curriculum.growth(fraction) == pytest.approx(growth, abs=1e-12)


@pytest.mark.parametrize(
    "growth, sides",
    # The largest side grows from 160 to 320 and takes in 192 at a fifth, and so on.
    [
        (0.0, [128, 160]),
        (0.19, [128, 160]),
        (0.2, [128, 160, 192]),
        (0.5, [128, 160, 192, 224]),
        (0.99, [128, 160, 192, 224, 256, 288]),
        (1.0, [128, 160, 192, 224, 256, 288, 320]),
    ],
)
def test_grown_sizes(growth, sides):
    assert grown_sizes(SIZES, START, growth) == tuple((s, s) for s in sides)


def test_smallest_side_moves_too():
    start = ((224, 224), (256, 256))
    # At a half: from (224 + 128) / 2 = 176 to (256 + 320) / 2 = 288.
    half = tuple((s, s) for s in (192, 224, 256, 288))
    assert grown_sizes(SIZES, start, 0.5) == half


def test_start_sizes_stay_until_a_size_of_the_sampler_fits():
    start = ((140, 140), (150, 150))
    assert grown_sizes(SIZES, start, 0.0) == start
    # From 139.4 to 158.5: none of the sampler's sizes.
    assert grown_sizes(SIZES, start, 0.05) == start
    # From 138.8 to 160.2.
    assert grown_sizes(SIZES, start, 0.06) == ((160, 160),)


@pytest.mark.parametrize(
    "sides, start, end",
    [
        (range(128, 321, 32), [128, 160], [224]),
        (range(64, 161, 16), [64, 80], [112]),
        (range(32, 545, 32), range(32, 513, 32), [544]),
        (range(128, 321, 32), [140, 150], [300]),
    ],
)
def test_sizes_never_shrink(sides, start, end):
    sizes, start, end = (tuple((side, side) for side in s) for s in (sides, start, end))
    means = [
        np.mean(grown_sizes(sizes, start, growth / 1000, end)) for growth in range(1001)
    ]
    assert means == sorted(means)


def test_sizes_that_shrink_stay_until_the_next_is_reached():
    sizes, start, end = ((256, 256), (320, 320)), ((320, 320),), ((256, 256),)
    for growth in (0.1, 0.5, 0.99):
        assert grown_sizes(sizes, start, growth, end) == start
    assert grown_sizes(sizes, start, 1.0, end) == end


def test_rectangles_grow_by_their_pixels():
    sizes = ((64, 256), (128, 128), (256, 64), (256, 256))
    assert grown_sizes(sizes, ((128, 128),), 0.5) == sizes[:3]


def test_default_start_is_the_smallest_quarter():
    assert ResolutionCurriculum().resolve_start_sizes(SIZES) == START
    assert ResolutionCurriculum().resolve_start_sizes(SIZES[:1]) == SIZES[:1]


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(begin=0.5, end=0.2), "begin=0.5, end=0.2"),
        (dict(begin=-0.1), "begin must be a fraction"),
        (dict(end=1.1), "end must be a fraction"),
        (dict(end=float("nan")), "end must be a fraction"),
        (dict(begin="now"), "begin must be a fraction"),
        (dict(begin="0.1"), "begin must be a fraction"),
        (dict(schedule="step", milestones=["0.2"]), "milestones for schedule='step'"),
        (dict(schedule="quadratic"), "'quadratic'"),
        (dict(schedule="math.quadratic"), "'math.quadratic'"),
        (dict(schedule="no_such_module.growth"), "'no_such_module.growth'"),
        (dict(schedule="math.pi"), "'math.pi'"),
        (dict(schedule="step", milestones=[0.5, 0.2]), "ascending"),
        (dict(schedule="step", milestones=[0.5, 0.5]), "ascending"),
        (dict(schedule="step", milestones=[]), "ascending"),
        (dict(schedule="step", milestones=[0.5, 1.2]), "fractions"),
        (dict(schedule="linear", milestones=[0.5]), "schedule='step'"),
        (dict(start_sizes=[]), "start_sizes"),
        (dict(start_sizes=[0]), "start_sizes[0]"),
    ],
)
def test_bad_arguments(kwargs, says):
    with pytest.raises(ValueError) as error:
        ResolutionCurriculum(**kwargs)
    assert says in str(error.value)


@pytest.mark.parametrize("side", [96, 352])
def test_start_sizes_outside_the_range(side):
    with pytest.raises(ValueError, match=rf"start_sizes .* {side}"):
        ResolutionCurriculum(start_sizes=[side]).resolve_start_sizes(SIZES)


def test_a_callable_by_its_name():
    curriculum = ResolutionCurriculum(schedule="math.sqrt", end=1.0)
    assert curriculum.growth(0.25) == 0.5


@pytest.mark.parametrize("result", [2.0, -0.5, None, float("nan")])
def test_callable_must_give_a_growth(result):
    with pytest.raises(ValueError, match="schedule as a callable"):
        ResolutionCurriculum(schedule=lambda x: result)


def test_a_callable_that_goes_wrong_later_is_refused_at_construction():
    with pytest.raises(ValueError, match="schedule as a callable.*got 1.0078125 for"):
        ResolutionCurriculum(schedule=lambda x: 1.5 * x)
