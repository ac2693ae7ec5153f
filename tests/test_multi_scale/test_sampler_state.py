"""Resuming within an epoch: simulated ranks, epochs cut anywhere, by brute force."""

import itertools
import json
import pickle
from collections import Counter

import pytest
from counting import count_calls
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mms_plugin.multi_scale import (
    KeyedPermutationSampler,
    MultiScaleVariableBatchSampler,
    ResolutionCurriculum,
)

SIZES = [4, 6, 8, 10, 12]
NUM = 101


def ranks(world_size, num=NUM, inner=DefaultSampler, curriculum=None, **kwargs):
    """The batch samplers of all ranks of a training."""
    inner_args = {k: kwargs.pop(k) for k in ("round_up", "seed") if k in kwargs}
    kwargs = dict(dict(batch_size=4, base_size=8, sizes=SIZES), **kwargs)
    samplers = []
    for rank in range(world_size):
        sampler = inner(range(num), shuffle=True, **{"seed": 3, **inner_args})
        sampler.rank, sampler.world_size = rank, world_size
        if inner is DefaultSampler:
            left = num - rank if not sampler.round_up else num
            sampler.num_samples = -(-left // world_size)
            if sampler.round_up:
                sampler.total_size = sampler.num_samples * world_size
        batch_sampler = MultiScaleVariableBatchSampler(sampler, **kwargs)
        if curriculum:
            batch_sampler.set_curriculum(*curriculum)
        samplers.append(batch_sampler)
    return samplers


def epoch_of(samplers, epoch):
    batches = []
    for sampler in samplers:
        sampler.set_epoch(epoch)
        batches.append(list(sampler))
    sizes = [[batch[0].size for batch in own] for own in batches]
    assert all(own == sizes[0] for own in sizes)
    for sampler, own in zip(samplers, batches):
        assert [(*b[0].size, len(b)) for b in own] == sampler.plan(epoch)
    return batches


def flat(batches):
    return [int(i) for own in batches for batch in own for i in batch]


def stopped_after(batches, position):
    return [own[:position] for own in batches]


def states(samplers, iteration, epoch):
    """The checkpoint that each rank would write: all the same, and plain JSON."""
    found = [json.loads(json.dumps(s.state_at(iteration, epoch))) for s in samplers]
    assert all(state == found[0] for state in found)
    return found[0]


def test_ranks_of_unequal_shares_say_how_many_images_they_used():
    kinds = set()
    for num, before, after in itertools.product(range(20, 60), (2, 3), (1, 2, 3)):
        old = ranks(before, num, round_up=False)
        batches = epoch_of(old, 0)
        length = len(batches[0])
        short = {len(own[-1]) for own in batches} != {len(batches[0][-1])}
        for position in (length - 1, length):
            seen = flat(stopped_after(batches, position))
            state = states(old, position, 0)
            assert state["images"] == len(seen)
            new = ranks(after, num, round_up=False)
            try:
                for sampler in new:
                    sampler.resume(position, 0, state)
                rest = flat(epoch_of_rest(new, 0))
            except ValueError as error:
                assert "remaining batches of epoch 0 must have an image" in str(error)
                continue
            assert sorted(seen + rest) == list(range(num))
            cut_before = any(own[-2:-1] != batches[0][-2:-1] for own in batches)
            kinds.add((short, position == length, cut_before))
    # Also a rank whose last batch but one is smaller, and the end of an epoch.
    assert len(kinds) > 2


CURRICULUM = (ResolutionCurriculum(start_sizes=[4, 6]), 4)
WITHIN = (ResolutionCurriculum(start_sizes=[4, 6], by_epoch=False, end=1.0), 4)


@pytest.mark.parametrize("curriculum", [None, CURRICULUM, WITHIN])
@pytest.mark.parametrize("position", [0, 1, 4, "end"])
@pytest.mark.parametrize("options", [{}, dict(drop_last=True), dict(round_up=False)])
def test_same_settings(curriculum, position, options):
    whole = ranks(3, curriculum=curriculum, **options)
    batches = epoch_of(whole, 1)
    length = len(batches[0])
    position = length if position == "end" else position
    done = whole[0].iterations_before(1) + position
    state = states(whole, done, 1)
    resumed = ranks(3, curriculum=curriculum, **options)
    for sampler, own in zip(resumed, batches):
        assert sampler.resume(done, 1, state) == done
        sampler.set_epoch(1)
        rest = list(sampler)
        assert rest == own[position:]
        seeds = [batch[0].seed for batch in rest]
        assert seeds == [batch[0].seed for batch in own[position:]]
        assert len(sampler) == length
        assert [sampler.batch_at(1, p) for p in range(length)] == sampler.plan(1)
    # Iterating it again gives the same rest; the next epoch is a whole one.
    again = epoch_of_rest(resumed, 1)
    assert flat(again) == flat([own[position:] for own in batches])
    assert epoch_of(resumed, 2) == epoch_of(whole, 2)


def epoch_of_rest(samplers, epoch):
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [list(sampler) for sampler in samplers]


@pytest.mark.parametrize("curriculum", [None, CURRICULUM, WITHIN])
@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize(
    ("before", "after", "batch_size"),
    [(2, 2, 6), (2, 3, 4), (4, 3, 4), (3, 1, 2), (1, 5, 2), (5, 4, 3)],
)
def test_other_ranks_or_batches_use_every_image_once(
    before, after, batch_size, round_up, curriculum
):
    old = ranks(before, round_up=round_up, curriculum=curriculum)
    batches = epoch_of(old, 1)
    for position in range(1, len(batches[0])):
        seen = flat(stopped_after(batches, position))
        state = states(old, old[0].iterations_before(1) + position, 1)
        new = ranks(
            after, round_up=round_up, curriculum=curriculum, batch_size=batch_size
        )
        start = old[0].iterations_before(1) + position
        try:
            (done,) = {s.resume(start, 1, state) for s in new}
        except ValueError as error:
            # Nobody's share can be filled up, and somebody would have no image.
            assert "set round_up=True" in str(error) and not round_up
            assert NUM - len(seen) < 2 * after
            continue
        rest = epoch_of(new, 1)
        times = Counter(seen + flat(rest))
        assert set(times) == set(range(NUM))
        # Twice: those that fill up equal shares, fewer than ranks.
        twice = sum(times.values()) - NUM
        assert twice <= after - 1 if round_up else twice == 0
        # The remaining iterations count up to the next epoch's beginning.
        assert done + len(rest[0]) == new[0].iterations_before(2)
        assert Counter(flat(epoch_of(new, 2))).keys() == set(range(NUM))


def test_resumed_with_other_ranks_again_and_again():
    seen, state, done = [], None, 0
    for number, (world_size, batch_size) in enumerate([(2, 4), (3, 2), (3, 2), (1, 5)]):
        samplers = ranks(world_size, num=200, batch_size=batch_size)
        if number:
            (done,) = {s.resume(done, 0, state) for s in samplers}
        batches = epoch_of_rest(samplers, 0)
        steps = 4 if number < 3 else len(batches[0])
        seen += flat(stopped_after(batches, steps))
        done += steps
        state = states(samplers, done, 0)
        samplers = [pickle.loads(pickle.dumps(s)) for s in samplers]
        assert epoch_of_rest(samplers, 0) == batches
    times = Counter(seen)
    assert set(times) == set(range(200))
    assert sum(times.values()) == 200


def test_a_state_of_a_training_that_has_just_been_resumed():
    """Saved before the first batch of the rest, as by a hook in ``before_train``."""
    (sampler,) = ranks(1, num=100, batch_size=4)
    batches = epoch_of_rest([sampler], 0)
    seen = flat(stopped_after(batches, 5))
    state, done = sampler.state_at(5), 5
    for batch_size in (5, 3):
        (sampler,) = ranks(1, num=100, batch_size=batch_size)
        done = sampler.resume(done, 0, state)
        state = sampler.state_at(done, 0)
    seen += flat(epoch_of_rest([sampler], 0))
    assert sorted(seen) == list(range(100))


@pytest.mark.parametrize("before, after", [(2, 2), (2, 3), (4, 1)])
def test_endless_stream_with_other_ranks(before, after):
    curriculum = (ResolutionCurriculum(start_sizes=[4, 6]), None, 60)
    old = ranks(before, inner=InfiniteSampler, curriculum=curriculum)
    batches = [list(itertools.islice(sampler, 20)) for sampler in old]
    state = states(old, 20, None)
    new = ranks(after, inner=InfiniteSampler, curriculum=curriculum, batch_size=5)
    rest = []
    for sampler in new:
        assert sampler.resume(20, None, state) == 20
        rest.append(list(itertools.islice(sampler, 10)))
    sizes = [[batch[0].size for batch in own] for own in rest]
    assert sizes == [sizes[0]] * after
    assert sizes[0] == [size[:2] for size in old[0].plan_iterations(20, 30)]
    # Together they continue MMEngine's own endless order.
    used = len(flat(batches))
    order = InfiniteSampler(range(NUM), shuffle=True, seed=3)
    order = list(itertools.islice(order, used + len(flat(rest))))
    assert Counter(flat(batches)) == Counter(order[:used])
    assert Counter(flat(rest)) == Counter(order[used:])
    again = states(new, 30, None)
    assert again["images"] == len(order)


def test_loop_by_iteration_over_epochs_with_other_ranks():
    curriculum = (ResolutionCurriculum(start_sizes=[4, 6]), None, 60)
    old = ranks(2, curriculum=curriculum)
    start = old[0].iterations_before(2)
    state = states(old, start + 1, None)
    assert (state["epoch"], state["position"]) == (2, 1)
    seen = flat(stopped_after(epoch_of(old, 2), 1))
    new = ranks(3, curriculum=curriculum)
    for sampler in new:
        assert sampler.resume(start + 1, None, state) == start + 1
        assert sampler.epoch_of(start + 1) == 2
    rest = epoch_of_rest(new, 2)
    assert set(seen + flat(rest)) == set(range(NUM))
    first_of_next = start + 1 + len(rest[0])
    assert new[0].epoch_of(first_of_next - 1) == 2
    assert new[0].epoch_of(first_of_next) == 3
    planned = new[0].plan_iterations(start + 1, first_of_next)
    assert [plan[:2] for plan in planned] == [batch[0].size for batch in rest[0]]
    # And on from there in the same settings.
    state = states(new, start + 2, None)
    later = ranks(3, curriculum=curriculum)
    for sampler, own in zip(later, rest):
        sampler.resume(start + 2, None, state)
        sampler.set_epoch(2)
        assert list(sampler) == own[1:]


class Wide:
    """Images, a third of which are portraits."""

    def __len__(self):
        return 60

    def get_data_info(self, index):
        return dict(width=4 + (index % 3 > 0) * 4, height=6)


def grouped(batch_size=4, inner=DefaultSampler):
    sampler = inner(Wide(), shuffle=True, seed=3)
    return MultiScaleVariableBatchSampler(
        sampler, batch_size, base_size=8, sizes=SIZES, group_by_aspect_ratio=True
    )


def test_grouped_by_aspect_ratio():
    whole = list(grouped())
    state = grouped().state_at(5, 0)
    resumed = grouped()
    resumed.resume(5, 0, state)
    assert list(resumed) == whole[5:]
    with pytest.raises(ValueError, match="group_by_aspect_ratio.*epoch's end"):
        grouped(batch_size=6).resume(5, 0, state)


def test_an_endless_stream_is_restored_as_often_as_wanted():
    (whole,) = ranks(1, inner=InfiniteSampler)
    states_at = {i: json.loads(json.dumps(whole.state_at(i))) for i in (0, 10, 20)}
    batches = list(itertools.islice(whole, 40))
    (sampler,) = ranks(1, inner=InfiniteSampler)
    for start in (10, 20, 10, 0, 20):
        sampler.load_state_dict(states_at[start])
        assert list(itertools.islice(sampler, 5)) == batches[start : start + 5]
        # Where it stands now.
        sampler.load_state_dict(sampler.state_dict())
        assert list(itertools.islice(sampler, 3)) == batches[start + 5 : start + 8]


def test_endless_stream_grouped_by_aspect_ratio():
    whole = list(itertools.islice(grouped(inner=InfiniteSampler), 40))
    state = grouped(inner=InfiniteSampler).state_at(30)
    resumed = grouped(inner=InfiniteSampler)
    resumed.resume(30, None, state)
    assert list(itertools.islice(resumed, 10)) == whole[30:]
    with pytest.raises(ValueError, match="group_by_aspect_ratio"):
        grouped(batch_size=6, inner=InfiniteSampler).resume(30, None, state)


class OneAfterTheOther:
    """A user's sampler: each rank has a block of its own."""

    def __init__(self, rank, world_size):
        self.rank, self.world_size, self.dataset = rank, world_size, range(60)

    def __len__(self):
        return 60 // self.world_size

    def __iter__(self):
        return iter(range(self.rank * len(self), (self.rank + 1) * len(self)))


def test_a_sampler_that_does_not_deal_in_turn():
    def sampler(world_size):
        return MultiScaleVariableBatchSampler(
            OneAfterTheOther(0, world_size), 4, base_size=8, sizes=SIZES, seed=1
        )

    whole = list(sampler(2))
    state = sampler(2).state_at(3, 0)
    resumed = sampler(2)
    resumed.resume(3, 0, state)
    assert list(resumed) == whole[3:]
    with pytest.raises(ValueError, match="deals images to the ranks in turn.*Default"):
        sampler(3).resume(3, 0, state)


def test_without_a_state_the_settings_must_be_the_same():
    sampler = ranks(1)[0]
    start = sampler.iterations_before(1)
    sampler.resume(start + 2, 1)
    assert epoch_of_rest([sampler], 1)[0] == epoch_of_rest(ranks(1), 1)[0][2:]
    with pytest.raises(ValueError, match="within epoch 1.*stands at 999"):
        ranks(1)[0].resume(999, 1)


def test_the_order_of_the_training_is_kept_whatever_the_seed():
    state = ranks(2)[0].state_at(3, 0)
    expected = [own[3:] for own in epoch_of(ranks(2), 0)]
    new = ranks(2, seed=77)
    for sampler in new:
        sampler.resume(3, 0, state)
    assert epoch_of_rest(new, 0) == expected


def test_after_ninety_thousand_iterations():
    """Ours against MMEngine's way: each batch drawn, side by side."""

    def sampler():
        inner = InfiniteSampler(range(10_000), shuffle=True, seed=3)
        return MultiScaleVariableBatchSampler(inner, 16, base_size=8, sizes=SIZES)

    def resumed():
        resumed = sampler()
        resumed.resume(90_000)
        return next(iter(resumed))

    def drawn():
        return next(itertools.islice(sampler(), 90_000, None))

    first = []
    calls = [count_calls(lambda: first.append(resumed()))]
    calls.append(count_calls(lambda: first.append(drawn())))
    assert first[0] == first[1]
    # And no sample has been asked for: a ratio on the indices alone.
    assert calls[0] < calls[1]


def counted_by_iterations(num, batch_size, max_iters, by_epoch, world_size=1):
    """A training of a loop that counts iterations, with a curriculum."""
    return ranks(
        world_size,
        num=num,
        curriculum=(ResolutionCurriculum(by_epoch=by_epoch), None, max_iters),
        batch_size=batch_size,
    )


@pytest.mark.parametrize("by_epoch", [True, False])
@pytest.mark.parametrize("num, max_iters", [(400, 900), (127, 500)])
def test_a_loop_that_counts_iterations_resumes_anywhere(num, max_iters, by_epoch):
    (whole,) = counted_by_iterations(num, 4, max_iters, by_epoch)
    plan = whole.plan_iterations(0, max_iters)
    for iteration in range(1, max_iters, 31):
        state = states([whole], iteration, None)
        (resumed,) = counted_by_iterations(num, 4, max_iters, by_epoch)
        assert resumed.resume(iteration, None, state) == iteration
        assert resumed.plan_iterations(iteration, max_iters) == plan[iteration:]


@pytest.mark.parametrize("by_epoch", [True, False])
def test_an_elastic_training_that_counts_iterations_resumes_again(by_epoch):
    (whole,) = counted_by_iterations(400, 4, 900, by_epoch)
    state = states([whole], 350, None)
    (elastic,) = counted_by_iterations(400, 6, 900, by_epoch)
    assert elastic.resume(350, None, state) == 350
    plan = elastic.plan_iterations(350, 900)
    for iteration in range(351, 900, 37):
        state = states([elastic], iteration, None)
        (again,) = counted_by_iterations(400, 6, 900, by_epoch)
        assert again.resume(iteration, None, state) == iteration
        assert again.plan_iterations(iteration, 900) == plan[iteration - 350 :]


@pytest.mark.parametrize("num", [515, 301, 1023])
def test_ranks_of_unequal_shares_draw_the_same_sizes(num):
    """Within an epoch the curriculum goes by a length that all ranks agree on."""
    curriculum = (ResolutionCurriculum(by_epoch=False), None, 400)
    plans = [
        sampler.plan_iterations(0, 400)
        for sampler in ranks(2, num=num, curriculum=curriculum, round_up=False)
    ]
    sizes = [[batch[:2] for batch in plan] for plan in plans]
    assert sizes[0] == sizes[1]


def test_the_rest_of_an_epoch_has_the_sizes_of_that_epoch():
    """Planned anew for other batches, a curriculum by epoch does not grow in it."""
    curriculum = (ResolutionCurriculum(start_sizes=[4, 6], end=1.0), 4)
    (whole,) = ranks(1, num=800, curriculum=curriculum)
    stop = int(0.8 * len(whole.plan(1)))
    done = whole.iterations_before(1) + stop
    (other,) = ranks(1, num=800, curriculum=curriculum, batch_size=8)
    other.resume(done, 1, states([whole], done, 1))
    drawn = {batch[:2] for batch in other.plan(1)}
    assert drawn <= set(whole.sizes_of_epoch(1)) < set(whole.sizes_of_epoch(2))


def test_the_last_image_of_an_epoch_has_the_size_that_was_reached():
    grows = dict(start_sizes=[4], end_sizes=[12], by_epoch=False, end=1.0)
    curriculum = (ResolutionCurriculum(**grows), 1)
    (whole,) = ranks(1, num=401, curriculum=curriculum)
    for used in (397, 400):
        plan = whole._planner.shared_plan(0, used).to_list()
        assert min(height for height, _, _ in plan) > 4


@pytest.mark.parametrize("before, after", [(4, 2), (4, 3), (3, 5)])
@pytest.mark.parametrize("inner", [DefaultSampler, KeyedPermutationSampler])
def test_other_ranks_after_the_last_iteration_of_an_epoch(inner, before, after):
    def samplers(world_size):
        if inner is DefaultSampler:
            return ranks(world_size, num=10, batch_size=2)
        own = [inner(range(10), seed=3, rank=r, world_size=world_size)
               for r in range(world_size)]  # fmt: skip
        return [
            MultiScaleVariableBatchSampler(each, 2, base_size=8, sizes=SIZES)
            for each in own
        ]

    old = samplers(before)
    length = len(old[0].plan(0))
    state = states(old, length, 0)
    for sampler in samplers(after):
        sampler.resume(length, 0, state)
        assert list(sampler) == [] and sampler.plan(0) == []


@pytest.mark.parametrize("change", ["type", "shuffle"])
def test_another_order_within_an_epoch_is_refused(change):
    (whole,) = ranks(1)
    state = states([whole], 3, 0)
    inner = DefaultSampler(range(NUM), seed=3, shuffle=change != "shuffle")
    words = "sampler.shuffle is False .was True."
    if change == "type":
        inner = KeyedPermutationSampler(range(NUM), seed=3)
        words = "sampler is 'KeyedPermutationSampler' .was 'DefaultSampler'."
    other = MultiScaleVariableBatchSampler(inner, 4, base_size=8, sizes=SIZES)
    with pytest.raises(ValueError, match=f"needs the order of images.*{words}"):
        other.resume(3, 0, state)
    # The next epoch may have another one.
    length = len(whole.plan(0))
    assert other.resume(length, 1, states([whole], length, 1)) == length
