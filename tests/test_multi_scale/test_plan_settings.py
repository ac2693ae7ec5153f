"""Which settings of a resumed training are named as changed."""

import json

import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mms_plugin.multi_scale import MultiScaleVariableBatchSampler, ResolutionCurriculum


def sampler(curriculum=None, max_epochs=3, num=50, inner=DefaultSampler, **changes):
    settings = dict(batch_size=4, base_size=8, sizes=[4, 6, 8, 10, 12])
    settings.update(changes)
    built = MultiScaleVariableBatchSampler(inner(range(num), seed=3), **settings)
    if curriculum is not None:
        built.set_curriculum(ResolutionCurriculum(**curriculum), max_epochs)
    return built


def state_of(built):
    return json.loads(json.dumps(built.state_at(2)))


GROWS = dict(start_sizes=[4, 6])
TABLE = dict(batch_sizes=[16, 7, 4, 2, 1])


@pytest.mark.parametrize(
    "before, after, expected",
    [
        (dict(), dict(), []),
        (dict(curriculum=GROWS), dict(curriculum=GROWS), []),
        (
            dict(curriculum=GROWS),
            dict(curriculum=GROWS, max_epochs=6),
            ["max_epochs is 6 (was 3)"],
        ),
        # The epochs of a constant curriculum are those of any number of epochs.
        (
            dict(curriculum=dict(schedule="constant")),
            dict(curriculum=dict(schedule="constant", end=0.5), max_epochs=6),
            [],
        ),
        (
            dict(curriculum=GROWS),
            dict(curriculum=dict(GROWS, end=0.5, start_sizes=[(4, 6)], by_epoch=False)),
            [
                "curriculum.start_sizes is [(4, 6)] (was [4, 6])",
                "curriculum.by_epoch is False (was True)",
                "curriculum.end is 0.5 (was 0.8)",
            ],
        ),
        (
            dict(curriculum=dict(schedule="step", milestones=[0.3, 0.6])),
            dict(curriculum=dict(schedule="step", milestones=[0.3])),
            ["curriculum.milestones is [0.3] (was [0.3, 0.6])"],
        ),
        (
            dict(curriculum=GROWS),
            dict(curriculum=dict(schedule="constant")),
            ["curriculum.schedule is 'constant' (was 'linear')"],
        ),
        (
            dict(),
            dict(curriculum=GROWS),
            ["a resolution curriculum is set (was not)"],
        ),
        (
            dict(curriculum=GROWS),
            dict(),
            ["no resolution curriculum is set (was set)"],
        ),
        # A constant one is none, unless it has sizes of its own.
        (dict(curriculum=dict(schedule="constant")), dict(), []),
        (dict(), dict(curriculum=dict(schedule="constant")), []),
        (
            dict(curriculum=dict(schedule="constant", end_sizes=[4, 8])),
            dict(),
            ["no resolution curriculum is set (was set)"],
        ),
        (
            dict(),
            dict(batch_size=6, sizes=[4, 8], drop_last=True, num=60),
            [
                "num_samples is 60 (was 50)",
                "drop_last is True (was False)",
                "sizes is [4, 8] (was [4, 6, 8, 10, 12])",
                "batch_size is 6 (was 4)",
            ],
        ),
        (dict(), dict(variable_batch=False), ["variable_batch is False (was True)"]),
        (dict(), dict(base_size=6), ["base_size is [6, 6] (was [8, 8])"]),
        (
            dict(),
            dict(cost_model=dict(alpha=1.0, beta=8.0)),
            ["cost_model is {'alpha': 1.0, 'beta': 8.0} (was None)"],
        ),
        (
            dict(weights=[1, 1, 1, 1, 1]),
            dict(weights=[1, 1, 2, 1, 1]),
            ["weights is [1, 1, 2, 1, 1] (was None)"],
        ),
        # With a table, the budget's arguments have no effect.
        (dict(TABLE), dict(TABLE, batch_size=8, base_size=10), []),
        (
            dict(TABLE),
            dict(batch_sizes=[16, 7, 4, 2, 2]),
            ["batch_sizes is [16, 7, 4, 2, 2] (was [16, 7, 4, 2, 1])"],
        ),
        (
            dict(inner=InfiniteSampler),
            dict(inner=InfiniteSampler, batch_size=5),
            ["batch_size is 5 (was 4)"],
        ),
    ],
)
def test_each_difference_is_named_with_both_values(before, after, expected):
    assert sampler(**after).changes_since(state_of(sampler(**before))) == expected


def test_the_number_of_ranks():
    two = sampler()
    two.inner_sampler.world_size = 2
    two.inner_sampler.num_samples = 25
    two.inner_sampler.total_size = 50
    changes = sampler().changes_since(two.state_at(2))
    assert changes == ["world_size is 1 (was 2)"]


def test_callables_are_told_apart_by_their_names():
    def slow(passed):
        return passed**2

    state = state_of(sampler(curriculum=dict(schedule=slow)))
    (text,) = sampler(curriculum=GROWS | dict(schedule="cosine")).changes_since(
        dict(
            state, settings=dict(state["settings"], **{"curriculum.start_sizes": None})
        )
    )[:1]
    assert text.startswith("curriculum.schedule is 'cosine' (was ")
    assert ".slow')" in text
    assert sampler(curriculum=dict(schedule=slow)).changes_since(state) == []


def test_a_checkpoint_of_an_earlier_version():
    """It holds no settings but two; it still resumes, within an epoch too."""
    old = state_of(sampler(curriculum=GROWS))
    del old["settings"]
    new = sampler(curriculum=GROWS, max_epochs=6, num=50)
    assert new.changes_since(old) == []
    assert sampler(num=60).changes_since(old) == ["num_samples is 60 (was 50)"]
    assert sampler(curriculum=GROWS).resume(2, 0, old) == 2
    new.resume(2, 0, old)
    assert new.epoch_of(2) == 0


def test_what_cannot_be_planned_anew_names_what_changed():
    class Images(list):
        def get_data_info(self, index):
            return dict(width=8, height=6)

    def grouped(**changes):
        settings = dict(batch_size=4, base_size=8, sizes=[4, 6, 8], **changes)
        inner = DefaultSampler(Images(range(60)), seed=3)
        settings = {**dict(batch_size=4), **settings, "group_by_aspect_ratio": True}
        return MultiScaleVariableBatchSampler(inner, **settings)

    state = grouped().state_at(3, 0)
    changed = grouped(weights=[1, 5, 1])
    with pytest.raises(ValueError, match=r"weights is \[1, 5, 1\] \(was None\)\), or"):
        changed.resume(3, 0, state)
