"""Budgets against the plans of real samplers, and against choices at random."""

import random

import pytest

from mms_plugin.multi_scale import MultiScaleVariableBatchSampler
from mms_plugin.multi_scale.curriculum import ResolutionCurriculum
from mms_plugin.multi_scale.growing_sizes import GrowingSizes
from mms_plugin.multi_scale.sizes import side_length
from mms_plugin.recipes.budget_search import (
    BudgetChoice,
    CostRates,
    best_choice,
    size_sets,
    solve_growth,
)

SIZES = [(side, side) for side in (128, 160, 192, 224)]
BASE = (224, 224)
EPOCHS, SAMPLES = 20, 20_000


def pixels(height, width, images):
    return float(images * height * width)


def with_rois(height, width, images):
    """Half of an image's cost at the base size does not depend on its size."""
    return images * (height * width + 224.0 * 224.0)


class InOrder:
    seed = 0

    def __init__(self):
        self.dataset = range(SAMPLES)

    def __len__(self):
        return SAMPLES

    def __iter__(self):
        return iter(range(SAMPLES))


def planned(sizes, start_sizes, begin, end, batch_size, cost):
    """Cost and iterations of the whole training, as shares of those at the base."""
    sampler = MultiScaleVariableBatchSampler(
        InOrder(), batch_size, base_size=BASE, sizes=list(sizes)
    )
    growth = ResolutionCurriculum(
        "linear", list(start_sizes), begin, end, None, False, [BASE]
    )
    sampler.set_curriculum(growth, max_epochs=EPOCHS)
    paid = iterations = 0
    for epoch in range(EPOCHS):
        for batch in sampler.plan(epoch):
            paid += cost(*batch)
            iterations += 1
    images = EPOCHS * SAMPLES
    base = images / batch_size
    return paid / (base * cost(*BASE, batch_size)), iterations / base


def choices(budget, batch_size, cost, sizes=SIZES):
    own = CostRates(cost(*BASE, batch_size) / batch_size, 1.0, 1.0 / batch_size)
    found, least = [], []
    for every, start in size_sets(sizes, BASE):
        schedule = GrowingSizes(batch_size, BASE, list(every))
        choice, reached = solve_growth(schedule, start, budget, cost, own, True)
        least.append(reached)
        if choice is not None:
            found.append(choice)
    return found, min(least)


@pytest.mark.parametrize("cost", [pixels, with_rois])
@pytest.mark.parametrize("budget, batch_size", [(0.6, 32), (0.8, 2), (0.95, 8)])
def test_a_training_costs_the_budget(budget, batch_size, cost):
    found, least = choices(budget, batch_size, cost)
    if budget < least:
        assert not found
        return
    choice = best_choice(found)
    assert choice.cost == pytest.approx(budget, abs=1e-9)
    assert 0 <= choice.begin <= choice.end <= 0.9
    share, updates = planned(*choice[:4], batch_size, cost)
    assert share == pytest.approx(budget, abs=0.005)
    assert updates == pytest.approx(choice.updates, rel=0.005)


@pytest.mark.parametrize("batch_size", [2, 5, 32])
def test_no_choice_at_random_has_more_updates(batch_size):
    rng = random.Random(batch_size)
    budget = 0.7
    best = best_choice(choices(budget, batch_size, pixels)[0])
    tried = 0
    while tried < 12:
        below = sorted(rng.sample(SIZES[:-1], rng.randint(1, 3)))
        every = (*below, BASE)
        start = every[: rng.randint(min(2, len(below)), len(every))]
        end = rng.uniform(0.3, 0.9)
        begin = rng.uniform(0.0, end)
        growth = ResolutionCurriculum("linear", start, begin, end, None, False, [BASE])
        schedule = GrowingSizes(batch_size, BASE, every)
        schedule.set_curriculum(growth)
        means = [
            sum(map(side_length, d.sizes)) / len(d.sizes)
            for d in (schedule.distribution(i / 200) for i in range(201))
        ]
        if means != sorted(means):
            continue
        tried += 1
        share, updates = planned(every, start, begin, end, batch_size, pixels)
        # What it costs less is worth as much as what the base size would add.
        spare = (budget - share) / (1 - share) if share < budget else 0.0
        if share <= budget:
            assert updates + spare * (1 - updates) <= best.updates * 1.01


def test_the_least_share_is_the_start_sizes_until_the_last_tenth():
    _, least = choices(0.5, 32, pixels)
    # The two smallest by turns, 98 and 62 images of them, then the base size.
    images = 98 + 62
    mean = (98 * 128**2 + 62 * 160**2) / images / 224**2
    only = min(mean, 128**2 / 224**2)
    assert least == pytest.approx(0.9 * only + 0.1, abs=1e-9)
    found, _ = choices(least - 0.01, 32, pixels)
    assert not found
    assert choices(least + 0.01, 32, pixels)[0]


def test_all_of_the_cost_is_the_base_size_only():
    choice = best_choice(choices(1.0, 32, pixels)[0])
    assert (choice.begin, choice.end) == (0.0, 0.0)
    assert choice.updates == pytest.approx(1.0)


def test_sizes_that_do_not_save_are_left_out():
    """At 224 the cost leaps: all below cost as much as the smallest."""

    def stairs(height, width, images):
        return images * (2.0 if height >= 224 else 1.0)

    found, _ = choices(0.8, 32, stairs)
    best = best_choice(found)
    # A batch of 192 is the smallest of those that cost half.
    assert best.updates >= max(choice.updates for choice in found) * 0.995
    assert (192, 192) in best.sizes


def test_among_equals_the_most_sizes():
    few = BudgetChoice(((1, 1), BASE), ((1, 1),), 0.0, 0.5, 0.7, 0.703)
    many = BudgetChoice((*SIZES,), SIZES[:2], 0.0, 0.5, 0.7, 0.700)
    fewer = many._replace(updates=0.690)
    assert best_choice([few, many]) is many
    assert best_choice([few, fewer]) is few


def test_size_sets():
    sets = list(size_sets([(2, 2), (1, 1), (4, 4), (3, 3)], (3, 3)))
    assert all(every[-1] == (3, 3) for every, _ in sets)
    assert {every for every, _ in sets} == {
        ((1, 1), (3, 3)),
        ((2, 2), (3, 3)),
        ((1, 1), (2, 2), (3, 3)),
    }
    assert {start for every, start in sets if len(every) == 3} == {
        ((1, 1), (2, 2)),
        ((1, 1), (2, 2), (3, 3)),
    }
    fixed = {every for every, _ in size_sets([(1, 1), (2, 2)], (3, 3), fixed=True)}
    assert fixed == {((1, 1), (2, 2), (3, 3))}
    many = [(n, n) for n in range(1, 20)]
    assert len({every for every, _ in size_sets(many, (20, 20))}) == 19
