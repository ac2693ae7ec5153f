"""Epochs of a training: lengths, fractions, what is left of a started one."""

import pickle
from dataclasses import replace

import pytest

from mms_plugin.multi_scale import (
    GrowingSizes,
    KeyedPermutationSampler,
    ResolutionCurriculum,
)
from mms_plugin.multi_scale.epoch_planner import EpochPlanner, StartedEpoch
from mms_plugin.multi_scale.training_settings import TrainingSettings


def no_indices(epoch):
    raise AssertionError("only asked where images are grouped")


def planner(curriculum=None, rank=0, world_size=1, round_up=True, **changes):
    growing = GrowingSizes(4, 8, [4, 6, 8])
    if curriculum is not None:
        growing.set_curriculum(ResolutionCurriculum(**curriculum))
    sampler = KeyedPermutationSampler(
        range(100), seed=1, rank=rank, world_size=world_size, round_up=round_up
    )
    return EpochPlanner(
        TrainingSettings(sampler, growing, 5, False, **changes), no_indices
    )


GROWS = dict(start_sizes=[4], end=0.5)


@pytest.mark.parametrize(
    "made",
    [
        planner(),
        planner(GROWS, max_epochs=4),
        planner(dict(GROWS, by_epoch=False), max_epochs=4),
        planner(GROWS, max_iters=40),
    ],
)
def test_lengths_are_those_of_the_plans(made):
    lengths = [len(made.plan(epoch)) for epoch in range(6)]
    assert [made.length(epoch) for epoch in range(6)] == lengths
    assert [made.iterations_before(e) for e in range(7)] == [
        sum(lengths[:e]) for e in range(7)
    ]
    for iteration in range(sum(lengths)):
        epoch = made.epoch_of(iteration)
        assert sum(lengths[:epoch]) <= iteration < sum(lengths[: epoch + 1])
    every = [batch for epoch in range(6) for batch in made.plan(epoch).to_list()]
    assert made.plan_iterations(3, len(every) - 2) == every[3:-2]
    again = pickle.loads(pickle.dumps(replace(made, indices_of=len)))
    assert again.plan(3).to_list() == made.plan(3).to_list()


@pytest.mark.parametrize(
    "batch_size, num, world_size, drop_last",
    [(7, 8, 1, True), (6, 15, 8, False)],
)
def test_every_rank_refuses_an_epoch_without_batches_for_all(
    batch_size, num, world_size, drop_last
):
    """Where sizes grow within the epoch, only its plan shows it."""
    sides = [6, 3, 8, 10, 16] if drop_last else [12, 16, 2, 3, 8]
    weights = None if drop_last else [2, 1, 1, 0, 2]
    growing = GrowingSizes(batch_size, 4, sides, weights)
    schedule = "linear" if drop_last else "cosine"
    growing.set_curriculum(ResolutionCurriculum(schedule, by_epoch=False))
    for rank in range(world_size):
        sampler = KeyedPermutationSampler(
            range(num), seed=3, round_up=False, rank=rank, world_size=world_size
        )
        settings = TrainingSettings(
            sampler, growing, 3, drop_last, max_epochs=5 if drop_last else 2
        )
        with pytest.raises(ValueError, match="must have a batch, and an image for"):
            EpochPlanner(settings, no_indices).iterations_before(2)


def test_lengths_by_hand():
    # Batches of 16, 7 and 4: 27 / 3 = 9 on average; 100 / 9 = 11.1
    assert planner().length(0) == 12
    # At the start only 4: 100 / 16 = 6.25
    grown = planner(GROWS, max_epochs=4)
    assert [grown.length(epoch) for epoch in (0, 3)] == [7, 12]
    assert grown.sizes_of(0) == ((4, 4),) and len(grown.sizes_of(3)) == 3


def test_fractions_at_which_epochs_begin():
    assert planner(GROWS, max_epochs=4).epoch_fractions() == [0, 0.25, 0.5, 0.75]
    by_iteration = planner(GROWS, max_iters=28)
    # The first epoch has 7 iterations of 28.
    assert by_iteration.epoch_fractions()[:2] == [0, 0.25]


@pytest.mark.parametrize("round_up", [True, False])
def test_ranks_have_the_same_sizes_and_their_own_images(round_up):
    plans = [planner(None, r, 3, round_up).plan(2) for r in range(3)]
    sizes = [[batch[:2] for batch in plan.to_list()] for plan in plans]
    assert sizes[0] == sizes[1] == sizes[2]
    images = [int(plan.batch_sizes.sum()) for plan in plans]
    assert images == ([34, 34, 34] if round_up else [34, 33, 33])


def test_an_epoch_that_was_started_elsewhere():
    whole = planner()
    started = replace(whole, started=StartedEpoch(1, 60))
    assert int(started.plan(1).batch_sizes.sum()) == 40
    assert started.used_before(1) == 60 and started.used_before(0) == 0
    done = started.iterations_done_elsewhere(1)
    assert done + len(started.plan(1)) == started.length(1) == 12
    assert started.plan(2).to_list() == whole.plan(2).to_list()
