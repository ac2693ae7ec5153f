import math
import pickle
import random
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.dataset import (
    ClassBalancedDataset,
    ConcatDataset,
    DefaultSampler,
    InfiniteSampler,
    RepeatDataset,
)
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import RandomSampler
from toys import ToyDataset

from mms_plugin.multi_scale import (
    MultiScaleDataset,
    MultiScaleVariableBatchSampler,
    ResolutionCurriculum,
)

SIZES = [128, 160, 192, 224, 256, 288, 320]


def inner_sampler(num, rank=0, world_size=1, **kwargs):
    kwargs = {"seed": 5, **kwargs}
    with mock.patch(
        "mmengine.dataset.sampler.get_dist_info", return_value=(rank, world_size)
    ):
        return DefaultSampler(range(num), **kwargs)


def make(num=1000, batch_size=32, rank=0, world_size=1, inner=None, **kwargs):
    kwargs = {"base_size": 224, "sizes": SIZES, **kwargs}
    if inner is None:
        inner = inner_sampler(num, rank, world_size)
    return MultiScaleVariableBatchSampler(inner, batch_size, **kwargs)


def shapes(batches):
    return [(*batch[0].size, len(batch)) for batch in batches]


def check_epoch(sampler, expected_indices):
    """All that the contract says of one epoch; gives its batches."""
    plan = sampler.plan(sampler.epoch)
    batches = list(sampler)
    assert shapes(batches) == plan
    assert len(batches) == len(sampler) == len(plan)
    assert all(len({i.size for i in batch}) == 1 for batch in batches)
    given = [int(i) for batch in batches for i in batch]
    assert given == list(expected_indices)
    return batches


@pytest.mark.parametrize("num", [1, 2, 15, 31, 97, 98, 99, 1000, 4567])
def test_each_index_once_in_batches_of_one_size(num):
    sampler = make(num)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        inner = inner_sampler(num)
        inner.set_epoch(epoch)
        batches = check_epoch(sampler, inner)
        for height, width, images in shapes(batches)[:-1]:
            assert images == max(1, 32 * 224 * 224 // (height * width))
        height, width, images = shapes(batches)[-1]
        assert images <= max(1, 32 * 224 * 224 // (height * width))


def test_fixed_batch():
    sampler = make(1000, variable_batch=False)
    assert {b for _, _, b in sampler.plan(0)[:-1]} == {32}
    assert {h for h, _, _ in sampler.plan(0)} == set(SIZES)
    check_epoch(sampler, inner_sampler(1000))


def test_single_size_is_the_plain_batch_sampler():
    sampler = make(1000, sizes=None)
    plain = torch.utils.data.BatchSampler(inner_sampler(1000), 32, False)
    assert [list(map(int, b)) for b in sampler] == list(plain)
    assert len(sampler) == len(plain)


def test_explicit_batch_sizes_and_rectangles():
    sampler = make(500, sizes=[(96, 160), 224], batch_sizes=[50, 7])
    full = sampler.plan(0)[:-1]
    assert set(full) == {(96, 160, 50), (224, 224, 7)}
    check_epoch(sampler, inner_sampler(500))


def test_weights_are_relative_frequencies_of_iterations():
    sampler = make(100_000, weights=[0, 1, 0, 3, 0, 0, 0])
    sides = np.array([h for h, _, _ in sampler.plan(0)])
    assert set(sides) == {160, 224}
    assert abs((sides == 224).mean() - 0.75) < 0.001


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("num, tolerance", [(200, 0.25), (400, 0.1), (1000, 0.05)])
def test_over_a_training_the_shares_are_those_of_the_weights(num, tolerance, drop_last):
    weights = [1, 1, 1, 2, 1, 1, 1]
    sampler = make(num, weights=weights, drop_last=drop_last)
    sides = [h for epoch in range(300) for h, _, _ in sampler.plan(epoch)]
    for side, weight in zip(SIZES, weights):
        # Epochs of few iterations (5, 10, 25 here) have to come out even first.
        share = sides.count(side) / len(sides)
        assert share == pytest.approx(weight / 8, rel=tolerance)


def test_a_late_epoch_is_planned_like_one_that_was_walked_to():
    walked = make(200)
    plans = [walked.plan(epoch) for epoch in range(40)]
    assert make(200).plan(39) == plans[39]


class Sided:
    """A dataset of landscape and portrait images."""

    def __len__(self):
        return 61

    def get_data_info(self, index):
        return dict(width=20 if index * 7 % 10 < 6 else 10, height=15)


def test_ranks_that_cut_a_batch_differently_share_what_it_was_planned_for():
    samplers = []
    for rank in range(2):
        with mock.patch(
            "mmengine.dataset.sampler.get_dist_info", return_value=(rank, 2)
        ):
            inner = DefaultSampler(Sided(), seed=5)
        samplers.append(make(batch_size=6, inner=inner, group_by_aspect_ratio=True))
    own, shared = (
        [
            [getattr(sampler, name)(0, i) for i in range(len(sampler))]
            for sampler in samplers
        ]
        for name in ("batch_at", "shared_batch_size")
    )
    assert own[0] != own[1] and shared[0] == shared[1]
    assert any(batch[2] < full for batch, full in zip(own[0], shared[0]))
    assert all(batch[2] <= full for batch, full in zip(own[0], shared[0]))


def test_an_image_is_augmented_anew_on_every_rank_and_each_time():
    def seeds(rank, world_size):
        inner = inner_sampler(5, rank, world_size)
        inner.rank, inner.world_size = rank, world_size
        return [i.seed for batch in make(inner=inner) for i in batch]

    assert seeds(0, 1) == seeds(0, 2) + seeds(0, 1)[3:]
    assert not set(seeds(0, 2)) & set(seeds(1, 2))

    class Repeats(DefaultSampler):
        def __iter__(self):
            return iter([3, 7, 3, 3, 7, 1])

    batches = list(make(inner=Repeats(range(6), seed=5)))
    assert [int(i) for i in batches[0]] == [3, 7, 3, 3, 7, 1]
    three, seven, one = ([i.seed for i in batches[0] if i == n] for n in (3, 7, 1))
    assert len(set(three)) == 3 and len(set(seven)) == 2
    assert three[0] == seven[0] == one[0]


def test_the_last_batch_is_seldom_small():
    # One image alone has no variance for batch normalization.
    sampler = make(1001)
    last = [sampler.plan(epoch)[-1] for epoch in range(200)]
    full = dict(zip(sampler.sizes, sampler.batch_sizes))
    shares = [images / full[height, width] for height, width, images in last]
    assert min(shares) > 0.2


def test_range_of_sizes():
    assert make(sizes=dict(min=128, max=320, num=7, divisor=32)).sizes == tuple(
        (s, s) for s in SIZES
    )


@pytest.mark.parametrize("num", [98, 99, 140, 1000, 4567])
def test_drop_last_gives_full_batches_and_few_are_left(num):
    sampler = make(num, drop_last=True)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert shapes(batches) == sampler.plan(epoch)
        for height, width, images in shapes(batches):
            assert images == 32 * 224 * 224 // (height * width)
        given = [int(i) for batch in batches for i in batch]
        assert len(set(given)) == len(given)
        assert 0 <= num - len(given) < 98


def test_epochs_differ_and_come_again():
    sampler = make()
    first = [sampler.plan(epoch) for epoch in range(4)]
    assert len({tuple(plan) for plan in first}) == 4
    assert [make().plan(epoch) for epoch in range(4)] == first
    assert make(seed=6).plan(0) != first[0]


def test_epochs_are_equally_long_without_a_curriculum():
    # 293 / 7 images an iteration on average, by the table of test_sizes.
    sampler = make(1000)
    assert {len(sampler.plan(epoch)) for epoch in range(20)} == {
        math.ceil(1000 * 7 / (98 + 62 + 43 + 32 + 24 + 19 + 15))
    }
    assert sampler.total_batches(20) == 20 * len(sampler)


@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize("num", [997, 1000, 1001, 1003])
@pytest.mark.parametrize("drop_last", [True, False])
def test_ranks_agree(num, round_up, drop_last):
    samplers = [
        make(inner=inner_sampler(num, rank, 4, round_up=round_up), drop_last=drop_last)
        for rank in range(4)
    ]
    for epoch in range(5):
        plans = []
        given = []
        for sampler in samplers:
            sampler.set_epoch(epoch)
            batches = list(sampler)
            assert shapes(batches) == sampler.plan(epoch)
            assert all(batches)
            plans.append([shape[:2] for shape in sampler.plan(epoch)])
            given += [int(i) for batch in batches for i in batch]
        assert plans.count(plans[0]) == 4
        if not drop_last:
            assert set(given) == set(range(num))
            assert len(given) == (-(-num // 4) * 4 if round_up else num)


def test_a_rank_with_one_sample_fewer_keeps_in_step_to_the_last_image():
    # 9 and 8 samples in batches of 4: the shorter rank's last batches are 3 and 1.
    plans = [
        make(
            inner=inner_sampler(17, rank, 2, round_up=False), batch_size=4, sizes=[224]
        ).plan(0)
        for rank in range(2)
    ]
    assert [[b for _, _, b in plan] for plan in plans] == [[4, 4, 1], [4, 3, 1]]


def test_a_config_without_a_sampler_is_told_where():
    with pytest.raises(ValueError, match=r"None; set train_dataloader\.sampler"):
        MultiScaleVariableBatchSampler(None, batch_size=4, base_size=8)


def test_ranks_that_cannot_keep_in_step_are_refused():
    with pytest.raises(ValueError, match="round_up=True"):
        make(inner=inner_sampler(17, 0, 2, round_up=False), batch_size=1, sizes=[224])


def test_a_rank_without_an_image_is_refused_in_fitting_words():
    with pytest.raises(ValueError) as error:
        make(inner=inner_sampler(1, 3, 4, round_up=False))
    assert "gives some ranks 1 and some 0; set round_up=True" in str(error.value)
    assert "one image" not in str(error.value)


def test_no_global_generator_is_used_or_disturbed():
    def draw(disturb):
        sampler = make()
        plans = []
        for epoch in range(3):
            sampler.set_epoch(epoch)
            for batch in sampler:
                plans.append(tuple(batch))
                if disturb:
                    random.random(), np.random.rand(), torch.rand(1)
        return plans

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    expected = draw(disturb=False)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])
    assert draw(disturb=True) == expected


def test_batch_sampler_survives_pickling():
    sampler = make()
    again = pickle.loads(pickle.dumps(sampler))
    assert again.plan(3) == sampler.plan(3) and list(again) == list(sampler)


def test_set_epoch_through_the_inner_sampler_as_mmengine_does():
    sampler = make()
    sampler.sampler.set_epoch(2)
    assert sampler.epoch == 2 and sampler.inner_sampler.epoch == 2
    assert len(sampler.sampler) == 1000 and sampler.sampler.seed == 5
    check_epoch(sampler, sampler.inner_sampler)


def test_samplers_without_epoch_or_seed():
    sampler = make(inner=RandomSampler(range(100)), seed=3)
    assert sorted(i for batch in sampler for i in batch) == list(range(100))
    sampler.sampler.set_epoch(4)
    assert shapes(list(sampler)) == sampler.plan(4)


def test_a_sampler_that_ends_before_its_length():
    class Short(list):
        def __iter__(self):
            return iter(range(10))

    with pytest.raises(ValueError, match="Short ended before"):
        list(make(inner=Short(range(100)), seed=0))


# With a curriculum


def curriculum(**kwargs):
    return ResolutionCurriculum(**{"start_sizes": [128, 160], **kwargs})


def test_curriculum_by_epoch():
    sampler = make()
    sampler.set_curriculum(curriculum(), max_epochs=10)
    for epoch in range(10):
        # Largest side: 160 at the start, 320 from 8 of 10 epochs on.
        largest = 160 + 160 * min(epoch / 8, 1)
        assert sampler.sizes_at(epoch / 10) == tuple(
            (s, s) for s in SIZES if s <= largest
        )
        sampler.set_epoch(epoch)
        inner = inner_sampler(1000)
        inner.set_epoch(epoch)
        batches = check_epoch(sampler, inner)
        assert {b[0].size[0] for b in batches} <= {s for s in SIZES if s <= largest}
    assert sampler.total_batches(10) == sum(len(sampler.plan(e)) for e in range(10))
    assert sampler.iterations_before(3) == sum(len(sampler.plan(e)) for e in range(3))


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(
    "schedule", ["constant", "linear", "cosine", "step", math.sqrt]
)
def test_curriculum_within_the_epoch(schedule, drop_last):
    sampler = make(3000, drop_last=drop_last)
    sampler.set_curriculum(curriculum(schedule=schedule, by_epoch=False), max_epochs=4)
    total = 0
    for epoch in range(4):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert shapes(batches) == sampler.plan(epoch)
        assert len(sampler) == len(batches)
        total += len(batches)
        seen = 0
        for height, _, images in shapes(batches):
            growth = sampler.curriculum.growth((epoch + seen / 3000) / 4)
            # Looked up at 256 points: at most one lookup and one batch ahead.
            later = sampler.curriculum.growth(min((epoch + seen / 3000 + 0.04) / 4, 1))
            assert height <= 160 + 160 * max(growth, later) + 1e-6
            seen += images
        assert seen == 3000 or (drop_last and 3000 - seen < 98)
    assert sampler.total_batches(4) == total


def test_curriculum_counted_in_iterations_over_epochs():
    sampler = make(2000)
    sampler.set_curriculum(curriculum(), max_iters=200)
    first, iterations = 0, []
    for epoch in range(5):
        plan = sampler.plan(epoch)
        largest = 160 + 160 * min(first / 200 / 0.8, 1)
        assert {h for h, _, _ in plan} <= {s for s in SIZES if s <= largest}
        first += len(plan)
        iterations += plan
    assert sampler.plan_iterations(0, first) == iterations
    assert sampler.plan_iterations(40, 90) == iterations[40:90]
    assert sampler.batch_at_iteration(77) == iterations[77]


def test_start_sizes_that_are_not_the_samplers():
    sampler = make()
    sampler.set_curriculum(curriculum(start_sizes=[144]), max_epochs=10)
    assert set(sampler.plan(0)[:-1]) == {(144, 144, 32 * 224 * 224 // 144**2)}


def test_cost_model_in_the_plan_and_at_start_sizes_of_its_own():
    beta = 150 * 150
    sampler = make(cost_model=dict(alpha=1.0, beta=beta))
    # 32 * (224 * 224 + 22500) = 2,325,632, divided by hand
    assert sampler.batch_sizes == (59, 48, 39, 32, 26, 22, 18)
    check_epoch(sampler, sampler.inner_sampler)
    sampler.set_curriculum(curriculum(start_sizes=[144]), max_epochs=10)
    assert set(sampler.plan(0)[:-1]) == {(144, 144, 53)}
    assert sampler.total_batches(10) == sum(len(sampler.plan(e)) for e in range(10))
    assert make(cost_model=dict(alpha=0.3)).plan(3) == make().plan(3)
    assert make(cost_model={}).batch_sizes == make().batch_sizes


def test_start_sizes_need_an_entry_in_the_table():
    sampler = make(batch_sizes=[9] * 7)
    with pytest.raises(ValueError, match="start_sizes must be among"):
        sampler.set_curriculum(curriculum(start_sizes=[144]), max_epochs=10)


def test_a_refused_curriculum_leaves_the_sampler_as_it_was():
    # 30 images make batches of 8 at 224 x 224, none of 77 at 72 x 72.
    kwargs = dict(num=30, sizes=[64, 224], weights=[0, 1], batch_size=8, drop_last=True)
    sampler, untouched = make(**kwargs), make(**kwargs)
    schedule, before = sampler.growing_sizes, sampler.plan(1)
    small = curriculum(start_sizes=[72], end_sizes=[224])
    with pytest.raises(ValueError, match="at least one batch per rank"):
        sampler.set_curriculum(small, max_epochs=10)
    assert sampler.curriculum is None and sampler.growing_sizes is schedule
    assert sampler.max_epochs is None and sampler.max_iters is None
    assert sampler.sizes_at(0.0) == ((224, 224),)
    assert sampler.plan(1) == before == untouched.plan(1)
    assert list(sampler) == list(untouched) and len(sampler) == len(untouched)
    assert sampler.total_batches(10) == untouched.total_batches(10)


def test_start_sizes_without_weight():
    sampler = make(weights=[0, 0, 1, 1, 1, 1, 1])
    with pytest.raises(ValueError, match="start_sizes"):
        sampler.set_curriculum(curriculum(), max_epochs=10)


# Samplers without an end


def infinite(num=100, **kwargs):
    return MultiScaleVariableBatchSampler(
        InfiniteSampler(range(num), seed=3), 32, base_size=224, sizes=SIZES, **kwargs
    )


def take(sampler, count):
    stream = iter(sampler)
    return [next(stream) for _ in range(count)]


def test_infinite_sampler():
    sampler = infinite()
    batches = take(sampler, 600)
    assert shapes(batches) == sampler.plan_iterations(0, 600)
    given = [int(i) for batch in batches for i in batch]
    assert given[:100] != given[100:200]
    assert sorted(given[:100]) == sorted(given[100:200]) == list(range(100))
    assert len(sampler) == math.ceil(100 / (293 / 7))


def test_infinite_sampler_begins_anew_when_the_curriculum_is_set():
    # MMEngine's loop has drawn ahead by then, and its sampler is one generator.
    expected = [int(i) for batch in take(infinite(), 300) for i in batch]
    sampler = infinite()
    take(sampler, 11)
    sampler.set_curriculum(curriculum(), max_iters=100)
    batches = take(sampler, 200)
    assert shapes(batches) == sampler.plan_iterations(0, 200)
    assert {b[0].size[0] for b in batches[:10]} <= {128, 160}
    given = [int(i) for batch in batches for i in batch]
    assert given[: len(expected)] == expected[: len(given)]


def test_infinite_sampler_begins_anew_after_workers_have_drawn_far_ahead(monkeypatch):
    monkeypatch.setattr("mms_plugin.multi_scale.inner_sampler.KEPT_INDICES", 50)
    sampler = infinite()
    expected = take(infinite(), 4)
    take(sampler, 20)
    sampler.set_curriculum(ResolutionCurriculum("constant"), max_iters=10)
    assert take(sampler, 4) == expected
    assert [i.seed for i in take(infinite(), 1)[0]] == [i.seed for i in expected[0]]

    class Endless(InfiniteSampler):
        pass

    other = make(inner=Endless(range(9), seed=3))
    take(other, 20)
    with pytest.raises(ValueError, match="must begin again with seed=3.*Endless"):
        other.set_curriculum(ResolutionCurriculum(), max_iters=10)


def test_a_sampler_without_a_length_has_no_end():
    class Endless:
        dataset, seed = range(100), 3

        def __iter__(self):
            while True:
                yield from range(100)

    sampler = make(inner=Endless())
    assert sampler.endless
    # As long as a pass over the dataset: what MMEngine's LoggerHook asks for.
    assert len(sampler) == math.ceil(100 / (293 / 7))
    assert shapes(take(sampler, 9)) == sampler.plan_iterations(0, 9)


def test_infinite_sampler_has_no_epochs():
    sampler = infinite()
    for ask in (
        lambda: sampler.plan(0),
        lambda: sampler.total_batches(3),
        lambda: sampler.set_curriculum(curriculum(), max_epochs=3),
    ):
        with pytest.raises(ValueError, match="InfiniteSampler"):
            ask()


# Bad input


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(sizes=[]), "sizes must be a sequence of at least one size"),
        (dict(sizes=[0]), "sizes[0]"),
        (dict(sizes=[12.5]), "12.5"),
        (dict(sizes=dict(min=3)), "'max'"),
        (dict(sizes=dict(min=320, max=128)), "min <= max"),
        (dict(base_size=(1, 2, 3)), "base_size"),
        (dict(base_size=0), "base_size"),
        (dict(base_size=None, sizes=None), "sizes must be given"),
        (dict(batch_size=0), "batch_size must be an integer of at least 1"),
        (dict(batch_size=2.5), "2.5"),
        (dict(batch_sizes=[1]), "7 sizes"),
        (dict(batch_sizes=[0] * 7), "batch_sizes"),
        (dict(batch_sizes=[1] * 7, variable_batch=False), "variable_batch=False"),
        (dict(variable_batch="no"), "variable_batch must be True or False, but got"),
        (dict(drop_last="off"), "drop_last must be True or False, but got 'off'"),
        (dict(group_by_aspect_ratio="no"), "group_by_aspect_ratio must be True or"),
        (dict(cost_model=dict(alpha=0)), "cost_model['alpha']"),
        (dict(cost_model=dict(gamma=1)), "gamma"),
        (dict(cost_model={}, batch_sizes=[1] * 7), "left out with batch_sizes"),
        (dict(cost_model={}, variable_batch=False), "left out with variable_batch"),
        (dict(weights=[1]), "7 sizes"),
        (dict(weights=[0] * 7), "not all zero"),
        (dict(weights=[math.nan] * 7), "nan"),
        (dict(weights=[-1] * 7), "-1"),
        (dict(num=0), "its length is 0"),
        (dict(num=14, drop_last=True), "at least one batch per rank"),
        (dict(seed=-1), "seed"),
    ],
)
def test_bad_arguments(kwargs, says):
    with pytest.raises(ValueError) as error:
        if kwargs.get("num") == 0:
            make(inner=[], **{k: v for k, v in kwargs.items() if k != "num"}, seed=0)
        else:
            make(**kwargs)
    assert says in str(error.value)


@pytest.mark.parametrize("epoch", [-1, 1.5, None])
def test_bad_epoch(epoch):
    with pytest.raises(ValueError, match="epoch must be an integer"):
        make().plan(epoch)


@pytest.mark.parametrize("horizon", [{}, dict(max_epochs=1, max_iters=1)])
def test_curriculum_needs_one_horizon(horizon):
    with pytest.raises(ValueError, match="one of max_epochs and max_iters"):
        make().set_curriculum(curriculum(), **horizon)


def test_curriculum_outside_the_sizes():
    with pytest.raises(ValueError, match="start_sizes must lie within"):
        make().set_curriculum(curriculum(start_sizes=[96]), max_epochs=1)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: d,
        lambda d: ConcatDataset([d, d]),
        lambda d: RepeatDataset(d, 2),
        lambda d: ClassBalancedDataset(d, 0.5),
    ],
)
def test_dataset_without_the_wrapper_is_refused(wrap):
    dataset = wrap(ToyDataset(pipeline=[]))
    with pytest.raises(ValueError, match="type='MultiScaleDataset'"):
        MultiScaleVariableBatchSampler(DefaultSampler(dataset, seed=0), 4, 8, [4, 8])
    wrapped = MultiScaleDataset(dataset)
    MultiScaleVariableBatchSampler(DefaultSampler(wrapped, seed=0), 4, 8, [4, 8])


def test_wrapper_inside_another_is_refused():
    dataset = RepeatDataset(ToyDataset(pipeline=[]), 2)
    dataset.dataset = MultiScaleDataset(dataset.dataset)
    with pytest.raises(ValueError, match="on the outside"):
        MultiScaleVariableBatchSampler(DefaultSampler(dataset, seed=0), 4, 8, [4, 8])


def test_registered_at_the_root():
    built = DATA_SAMPLERS.build(
        dict(
            type="MultiScaleVariableBatchSampler",
            sampler=inner_sampler(10),
            batch_size=2,
            base_size=8,
            sizes=[4, 8],
        )
    )
    assert isinstance(built, MultiScaleVariableBatchSampler)
    assert "MultiScaleVariableBatchSampler" in repr(built)
