"""Batches of an endless sampler."""

import itertools

import pytest
from mmengine.dataset import InfiniteSampler

from mms_plugin.multi_scale import GrowingSizes, ResolutionCurriculum
from mms_plugin.multi_scale.batch_stream import BatchStream
from mms_plugin.multi_scale.training_settings import TrainingSettings


def stream(max_iters=None):
    growing = GrowingSizes(4, 8, [4, 8])
    if max_iters:
        growing.set_curriculum(ResolutionCurriculum(start_sizes=[4], end=1.0))
    return BatchStream(
        TrainingSettings(
            InfiniteSampler(range(50), seed=3), growing, 5, False, max_iters=max_iters
        )
    )


def test_batches_follow_the_plan_and_the_sampler():
    made = stream()
    batches = list(itertools.islice(made, 300))
    planned = made.plan(0, 300).to_list()
    assert [(*batch[0].size, len(batch)) for batch in batches] == planned
    assert {size[2] for size in planned} == {16, 4}
    flat = [index for batch in batches for index in batch]
    assert flat == list(itertools.islice(InfiniteSampler(range(50), seed=3), len(flat)))
    assert made.iteration == 300
    assert made.images_between(100, 300) == sum(map(len, batches[100:]))


def test_it_starts_after_the_images_that_were_used():
    whole = list(itertools.islice(stream(), 40))
    resumed = stream()
    resumed.start_at(30, sum(map(len, whole[:30])))
    assert resumed.start == (30, sum(map(len, whole[:30])))
    rest = list(itertools.islice(resumed, 10))
    assert rest == whole[30:]
    assert [batch[0].seed for batch in rest] == [b[0].seed for b in whole[30:]]


def test_an_iterator_that_is_left_behind_changes_no_sizes():
    whole = stream().plan(0, 20).to_list()
    made = stream()
    batches = iter(made)
    sizes = [next(batches)[0].size for _ in range(5)]
    next(iter(made))  # a look at the first batch
    sizes += [next(batches)[0].size for _ in range(15)]
    assert sizes == [size[:2] for size in whole]
    assert made.iteration == 20


def test_fractions_and_the_length_of_a_pass():
    assert stream().fraction(7) == 1.0
    growing = stream(max_iters=10)
    assert [growing.fraction(i) for i in (0, 5, 20)] == [0.0, 0.5, 1.0]
    assert {batch[:2] for batch in growing.plan(0, 1).to_list()} == {(4, 4)}
    # 50 images in batches of 10 on average
    assert growing.batches_of_a_pass() == 5


@pytest.mark.parametrize("start, stop", [(0, 0), (255, 258), (700, 1100)])
def test_any_part_of_the_plan_is_that_of_the_whole(start, stop):
    whole = stream().plan(0, 1100).to_list()
    assert stream().plan(start, stop).to_list() == whole[start:stop]
