"""Settings that all batches depend on."""

import numpy as np
import pytest
from mmengine.dataset import InfiniteSampler

from mms_plugin.multi_scale import (
    GrowingSizes,
    KeyedPermutationSampler,
    ResolutionCurriculum,
)
from mms_plugin.multi_scale.training_settings import (
    TrainingSettings,
    check_inner_sampler,
)


def settings(
    num=10, world_size=1, rank=0, round_up=True, batch_size=2, variable=True, **changes
):
    sampler = KeyedPermutationSampler(
        range(num), seed=1, round_up=round_up, rank=rank, world_size=world_size
    )
    growing = GrowingSizes(batch_size, 8, [4, 8], variable_batch=variable)
    arguments = dict(growing_sizes=growing, seed=5, drop_last=False)
    arguments.update(changes)
    return TrainingSettings(sampler, **arguments)


@pytest.mark.parametrize(
    "kwargs, capacity",
    [
        (dict(), 10),
        (dict(world_size=3), 4),
        (dict(world_size=3, round_up=False), 4),
        (dict(world_size=3, round_up=False, drop_last=True), 3),
        # The largest batch has 8 images.
        (dict(landscape=np.ones(10, bool)), 10 + 7),
        (dict(landscape=np.ones(10, bool), drop_last=True), 10 - 7),
    ],
)
def test_images_that_an_epoch_is_planned_for(kwargs, capacity):
    made = settings(**kwargs)
    assert made.capacity() == capacity and made.num_samples == 10


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(num=0), "at least one index"),
        (dict(num=2, batch_size=40, drop_last=True), "at least one batch per rank"),
        (
            dict(num=4, world_size=3, round_up=False, batch_size=1, variable=False),
            "set round_up=True",
        ),
    ],
)
def test_settings_that_give_some_rank_no_batch(kwargs, says):
    with pytest.raises(ValueError, match=says):
        check_inner_sampler(settings(**kwargs))


def test_images_that_grouping_needs_are_named():
    own = settings(num=40, batch_size=8, drop_last=True, landscape=np.ones(40, bool))
    assert own.capacity() == 40 - own.spare
    more = f"and {own.spare} more for group_by_aspect_ratio=True, but got 40"
    says = f"on average over the sizes {more}"
    with pytest.raises(ValueError, match=f"{says}.*or group_by_aspect_ratio=False"):
        check_inner_sampler(own)


def test_no_epoch_of_a_curriculum_may_be_without_a_batch():
    growing = GrowingSizes(4, 12, [4, 8, 12], batch_sizes=[16, 64, 8])
    growing.set_curriculum(
        ResolutionCurriculum(start_sizes=[4], end_sizes=[12], end=1.0)
    )
    # In the middle only 8 px, of 64 images a batch.
    with pytest.raises(ValueError, match="64 images on average over the sizes"):
        check_inner_sampler(
            settings(
                num=30,
                drop_last=True,
                growing_sizes=growing,
                max_epochs=10,
                batch_size=4,
            )
        )


def test_settings_that_do():
    check_inner_sampler(settings())
    check_inner_sampler(settings(num=4, world_size=3))
    endless = TrainingSettings(
        InfiniteSampler(range(1)), GrowingSizes(9, 8), 1, drop_last=True
    )
    check_inner_sampler(endless)
