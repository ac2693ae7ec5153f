"""Random configs: a clear error at construction, or all that the contract says.

What is right is worked out here from the arguments alone, in another way than in the
package.
"""

import itertools
import math
import pickle
import re
from collections import Counter
from fractions import Fraction
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mms_plugin.multi_scale import (
    KeyedPermutationSampler,
    MultiScaleVariableBatchSampler,
    ResolutionCurriculum,
    SizedIndex,
)

EXAMPLES = 300
# Iterations of an endless stream that are looked at.
STREAM = 24


class Images:
    """Images of which only width and height are known."""

    def __init__(self, length, landscape):
        self.length = length
        self.landscape = landscape

    def __len__(self):
        return self.length

    def get_data_info(self, index):
        wide = (index * 2654435761 % 2**32) / 2**32 < self.landscape
        return dict(width=20 if wide else 10, height=15)


# What is drawn

SIDES = st.integers(3, 12).map(lambda n: n * 8)
SIZES = st.one_of(SIDES, st.tuples(SIDES, SIDES), st.integers(24, 96))


def square(passed):
    return passed * passed


def up_and_down(passed):
    return abs(math.sin(7 * passed))


CALLABLES = [square, math.sqrt, up_and_down]

BAD = {
    "batch_size": [0, -4, 2.5, "8", None, True],
    "base_size": [0, -1, (1, 2, 3), "big", 3.5, {}],
    "sizes": [[], [0], [[8, 8], 8], "128", 16, [8, None], dict(min=8), dict(max=8)]
    + [dict(min=64, max=8), dict(min=8, max=64, step=8), dict(min=8, max=8.5)]
    + [dict(min=33, max=63, divisor=32), dict(min=8, max=64, num=0)],
    "weights": [[], [1.0] * 50, [-1.0], "even", 3, [math.nan], [math.inf], {8: 1.0}],
    "batch_sizes": [[], [4] * 50, [0], 3, "four", [2.5], {8: 1}],
    "cost_model": [dict(alpha=0), dict(beta=-1.0), dict(gamma=1), 5, dict(alpha="1")]
    + [dict(beta=math.inf)],
    "seed": [-1, 1.5, "seed", True],
    "schedule": ["exponential", None, 3, lambda x: 2.0, lambda x: math.nan]
    + [lambda x: "half", lambda x: 1.5 * x],
    "begin": [-0.1, 1.1, "early", None, math.nan],
    "end": [-0.1, 1.1, "late", None],
    "milestones": [[], [0.5, 0.2], [0.5, 0.5], [2.0], 0.5, "0.5", [None]],
    "start_sizes": [[], [0], [10_000], "small", dict(min=8), [8, 8]],
    "end_sizes": [[], [0], [10_000], "large", dict(min=8), [8, 8]],
    "max_epochs": [0, -1, 2.5, "ten"],
    "max_iters": [0, -1, 2.5, "ten"],
}
OF_CURRICULUM = {"schedule", "begin", "end", "milestones", "start_sizes", "end_sizes"}
OF_CURRICULUM |= {"max_epochs", "max_iters"}


def as_size(value):
    return tuple(value) if isinstance(value, (list, tuple)) else (value, value)


def lay_out(sizes):
    """Independent of the package: the sizes of a list or a range, in exact numbers."""
    if not isinstance(sizes, dict):
        return [as_size(size) for size in sizes]
    low, high = as_size(sizes["min"]), as_size(sizes["max"])
    divisor, num = sizes.get("divisor", 32), sizes.get("num")
    multiples = [
        [m for m in range(divisor, b + 1, divisor) if m >= a] for a, b in zip(low, high)
    ]
    if num is None:
        num = max(1, *(len(m) for m in multiples))
    axes = []
    for a, b, allowed in zip(low, high, multiples):
        exact = [a + Fraction((b - a) * i, max(num - 1, 1)) for i in range(num)]
        # The nearest; of two as near, the larger.
        axes.append([min(allowed, key=lambda m: (abs(m - x), -m)) for x in exact])
    return list(dict.fromkeys(zip(*axes)))


@st.composite
def size_sets(draw):
    kind = draw(st.sampled_from(["list", "list", "range", "base"]))
    if kind == "base":
        return None
    if kind == "list":
        sizes = draw(st.lists(SIZES, min_size=1, max_size=6, unique_by=as_size))
        return sizes
    divisor = draw(st.sampled_from([1, 4, 8]))
    low, high = sorted([draw(st.integers(3, 10)), draw(st.integers(3, 10))])
    sizes = dict(min=low * 8, max=high * 8, divisor=divisor)
    if divisor == 1 or draw(st.booleans()):
        sizes["num"] = draw(st.integers(1, 7))
    return sizes


def one_in(draw, count):
    return draw(st.sampled_from([False] * (count - 1) + [True]))


def fractions(draw):
    return draw(st.sampled_from([0.0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.8, 1.0]))


LENGTHS = st.one_of(st.integers(1, 20), *[st.integers(21, 500)] * 3)


@st.composite
def configs(draw):
    """All arguments, and the name of the one that is made bad, if any."""
    sizes = draw(size_sets())
    base_size = draw(st.one_of(st.none(), SIZES)) if sizes else draw(SIZES)
    listed = lay_out(sizes if sizes else [base_size])
    count = len(listed)
    config = dict(batch_size=draw(st.integers(1, 24)), base_size=base_size)
    config["sizes"] = sizes
    if one_in(draw, 3):
        weight = st.sampled_from([0.0, 0.1, 1.0, 1.0, 2.5, 1e-3])
        config["weights"] = draw(
            st.lists(weight, min_size=count, max_size=count).filter(any)
        )
    rule = draw(st.sampled_from(["pixels", "pixels", "table", "cost", "fixed"]))
    if rule == "table":
        each = st.integers(1, 30)
        config["batch_sizes"] = draw(st.lists(each, min_size=count, max_size=count))
    elif rule == "cost":
        config["cost_model"] = draw(
            st.sampled_from([dict(), dict(beta=500), dict(alpha=0.1, beta=12.3)])
        )
    elif rule == "fixed":
        config["variable_batch"] = False
    config["group_by_aspect_ratio"] = one_in(draw, 4)
    config["drop_last"] = one_in(draw, 3)
    config["seed"] = draw(st.one_of(st.none(), st.integers(0, 2**40)))
    inner = draw(
        st.sampled_from([DefaultSampler, KeyedPermutationSampler, InfiniteSampler])
    )
    inner_args = dict(shuffle=draw(st.booleans()), seed=draw(st.integers(0, 99)))
    if inner is not InfiniteSampler:
        inner_args["round_up"] = draw(st.booleans())
    curriculum, counts = None, {}
    if not one_in(draw, 3):
        curriculum = draw(curricula(listed))
        counted = "max_epochs"
        if inner is InfiniteSampler or one_in(draw, 3):
            counted = "max_iters"
        most = 5 if counted == "max_epochs" else 60
        counts[counted] = draw(st.integers(1, most))
    bad = None
    if one_in(draw, 5):
        bad = draw(st.sampled_from(sorted(BAD)))
        value = draw(st.sampled_from(BAD[bad]))
        if bad not in OF_CURRICULUM:
            config[bad] = value
        elif curriculum is None:
            bad = None
        elif bad.startswith("max_"):
            counts = {bad: value}
        else:
            if bad == "milestones":
                curriculum["schedule"] = "step"
            curriculum[bad] = value
    return dict(
        sampler=config,
        inner=inner,
        inner_args=inner_args,
        num=0 if one_in(draw, 25) else draw(LENGTHS),
        landscape=draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])),
        world_size=draw(st.integers(1, 9)),
        curriculum=curriculum,
        counts=counts,
        epochs=draw(st.lists(st.integers(0, 6), min_size=1, max_size=3)),
        bad=bad,
    )


@st.composite
def curricula(draw, listed):
    schedule = draw(
        st.sampled_from(["constant", "linear", "cosine", "step", *CALLABLES])
    )
    begin, end = sorted([fractions(draw), fractions(draw)])
    curriculum = dict(
        schedule=schedule, begin=begin, end=end, by_epoch=draw(st.booleans())
    )
    if schedule == "step" and draw(st.booleans()):
        count = draw(st.integers(1, 4))
        curriculum["milestones"] = [(i + 1) / (count + 1) for i in range(count)]
    for name in ("start_sizes", "end_sizes"):
        kind = draw(st.sampled_from(["none", "listed", "listed", "inside"]))
        if kind == "listed":
            curriculum[name] = draw(
                st.lists(st.sampled_from(listed), min_size=1, max_size=3, unique=True)
            )
        elif kind == "inside":
            # Mostly within the range of the sampler's.
            sides = sorted(math.isqrt(h * w) for h, w in listed)
            inside = st.integers(sides[0] + 1, max(sides[0] + 1, sides[-1]))
            curriculum[name] = draw(
                st.lists(
                    st.one_of(inside, inside, SIZES) if one_in(draw, 6) else inside,
                    min_size=1,
                    max_size=3,
                    unique_by=as_size,
                )
            )
    return curriculum


# What is right


class Expected:
    """The contract, from the arguments alone."""

    def __init__(self, config):
        self.config = config
        args = config["sampler"]
        base = args["base_size"]
        self.sizes = lay_out(args["sizes"] if args["sizes"] is not None else [base])
        self.weights = args.get("weights") or [1.0] * len(self.sizes)
        if base is None:
            base = max(self.sizes, key=lambda s: s[0] * s[1])
        self.base = as_size(base)
        self.drawn = [s for s, w in zip(self.sizes, self.weights) if w > 0]
        num, world_size = config["num"], config["world_size"]
        self.full = {}
        self.fewest, self.most = num // world_size, -(-num // world_size)
        if config["inner_args"].get("round_up", True):
            self.fewest = self.most

    def batch_size(self, size):
        if size not in self.full:
            self.full[size] = self.find_batch_size(size)
        return self.full[size]

    def find_batch_size(self, size):
        args = self.config["sampler"]
        if args.get("batch_sizes"):
            return args["batch_sizes"][self.sizes.index(size)]
        if not args.get("variable_batch", True):
            return args["batch_size"]
        cost_model = args.get("cost_model") or {}
        # In tenths, which all that is drawn here comes out even in.
        alpha = round(10 * cost_model.get("alpha", 1))
        beta = round(10 * cost_model.get("beta", 0))

        def cost(size):
            return alpha * size[0] * size[1] + beta

        full = 1
        # By trying, not by division.
        while (full + 1) * cost(size) <= args["batch_size"] * cost(self.base):
            full += 1
        return full

    def weight(self, size):
        if size in self.sizes:
            return self.weights[self.sizes.index(size)]
        positive = [w for w in self.weights if w > 0]
        return sum(positive) / len(positive)

    def ends(self):
        curriculum = self.config["curriculum"]
        start = curriculum.get("start_sizes")
        if start is None:
            by_side = sorted(self.sizes, key=lambda s: math.sqrt(s[0] * s[1]))
            start = by_side[: (len(by_side) + 3) // 4]
        end = curriculum.get("end_sizes") or self.drawn
        return [as_size(s) for s in start], [as_size(s) for s in end]

    def growth(self, fraction):
        curriculum = self.config["curriculum"]
        begin, end = curriculum["begin"], curriculum["end"]
        schedule = curriculum["schedule"]
        if schedule == "constant":
            return 1.0
        if schedule == "step":
            at = curriculum.get("milestones")
            if at is None:
                at = [begin + (end - begin) * i / 4 for i in range(1, 5)]
            return sum(m <= fraction + 1e-9 for m in at) / len(at)
        if fraction + 1e-9 >= end:
            return 1.0
        passed = 0.0 if fraction <= begin else (fraction - begin) / (end - begin)
        if schedule == "linear":
            return passed
        if schedule == "cosine":
            return (1 - math.cos(math.pi * passed)) / 2
        return schedule(passed)

    def drawn_at(self, fraction):
        """The sizes that may come after a fraction of the training."""
        if self.config["curriculum"] is None:
            return set(self.drawn)
        start, end = self.ends()
        growth = self.growth(fraction)
        if growth <= 0 or growth >= 1:
            return {s for s in (start if growth <= 0 else end) if self.weight(s) > 0}

        def side(size):
            return math.sqrt(size[0] * size[1])

        def between(pick):
            first, last = pick(map(side, start)), pick(map(side, end))
            return first + (last - first) * growth

        low, high = between(min) - 1e-9, between(max) + 1e-9
        grown = {s for s in self.drawn if low <= side(s) <= high}
        if grown:
            return grown
        below = [s for s in self.drawn if max(map(side, start)) < side(s) <= high]
        if below:
            return {max(below, key=side)}
        return {s for s in start if self.weight(s) > 0}

    def iterations(self, drawn, room, drop_last):
        total = sum(Fraction(self.weight(s)) for s in drawn)
        images = sum(Fraction(self.weight(s)) * self.batch_size(s) for s in drawn)
        exact = room * total / images
        return exact.__floor__() if drop_last else exact.__ceil__()


def inner_sampler(config, rank, epoch=0):
    cls = config["inner"]
    dataset = Images(config["num"], config["landscape"])
    with mock.patch(
        f"{cls.__module__}.get_dist_info", return_value=(rank, config["world_size"])
    ):
        sampler = cls(dataset, **config["inner_args"])
    sampler.set_epoch(epoch)
    return sampler


def build(config, rank):
    sampler = MultiScaleVariableBatchSampler(
        inner_sampler(config, rank), **config["sampler"]
    )
    if config["curriculum"] is not None:
        curriculum = ResolutionCurriculum(**config["curriculum"])
        sampler.set_curriculum(curriculum, **config["counts"])
    return sampler


def check_full(expected, plan, landscapes, most):
    """Batches are full by the formula, but for the last ones."""
    full = [expected.batch_size((h, w)) for h, w, _ in plan]
    sizes = [b for _, _, b in plan]
    assert all(1 <= b <= f for b, f in zip(sizes, full))
    if expected.config["sampler"]["drop_last"]:
        assert sizes == full
        return
    kinds = [landscapes] if landscapes is None else [True, False]
    for kind in kinds:
        own = [i for i in range(len(plan)) if kind is None or landscapes[i] == kind]
        cut = [place for place, i in enumerate(own) if sizes[i] < full[i]]
        # The last ones, each down to one image before the one before it.
        assert all(sizes[i] == 1 for i in own[min(cut, default=len(own)) + 1 :])
        if kind is None:
            assert len(cut) <= (1 if most else 2)
    if landscapes is not None:
        largest = max(map(expected.batch_size, every_size(expected)))
        assert sum(full) - sum(sizes) < 2 * largest


def check_epoch(config, expected, samplers, epoch, before):
    """One epoch on all ranks; ``before`` counts the iterations of the earlier ones."""
    args = config["sampler"]
    grouped = args["group_by_aspect_ratio"]
    plans = [sampler.plan(epoch) for sampler in samplers]
    assert len({len(plan) for plan in plans}) == 1
    shapes = [[(h, w) for h, w, _ in plan] for plan in plans]
    assert all(shape == shapes[0] for shape in shapes)
    check_drawn(config, expected, samplers[0], epoch, before, shapes[0])
    dealt = []
    for rank, (sampler, plan) in enumerate(zip(samplers, plans)):
        sampler.set_epoch(epoch)
        assert len(sampler) == len(plan)
        batches = list(sampler)
        assert [(*batch[0].size, len(batch)) for batch in batches] == plan
        assert all(type(i).__mro__[1] is SizedIndex for b in batches for i in b)
        assert all(len({i.size for i in batch}) == 1 for batch in batches)
        given = [int(i) for batch in batches for i in batch]
        inner = list(inner_sampler(config, rank, epoch))
        if args["drop_last"]:
            assert not Counter(given) - Counter(inner)
            largest = max(expected.batch_size(s) for s in every_size(expected))
            assert expected.fewest - len(given) < largest * (2 if grouped else 1)
        if not grouped:
            assert given == inner[: len(given)]
        if not args["drop_last"]:
            assert sorted(given) == sorted(inner)
        landscapes = None
        if grouped:
            images = Images(config["num"], config["landscape"])
            wide = [{wide_of(images, i) for i in batch} for batch in batches]
            assert all(len(kinds) == 1 for kinds in wide)
            landscapes = [kinds.pop() for kinds in wide]
        check_full(expected, plan, landscapes, len(inner) == expected.most)
        dealt += given
    if not args["drop_last"] and not config["inner_args"]["round_up"]:
        assert sorted(dealt) == list(range(config["num"]))
    elif not args["drop_last"]:
        assert set(dealt) == set(range(config["num"]))
        assert len(dealt) == expected.most * config["world_size"]
    return plans[0]


def wide_of(images, index):
    info = images.get_data_info(int(index))
    return info["width"] >= info["height"]


def every_size(expected):
    config = expected.config
    sizes = set(expected.drawn)
    if config["curriculum"] is not None:
        for end in expected.ends():
            sizes |= {s for s in end if expected.weight(s) > 0}
    return sizes


def check_drawn(config, expected, sampler, epoch, before, shapes):
    """The right sizes, and as many iterations as they take."""
    curriculum, args = config["curriculum"], config["sampler"]
    fraction = 1.0
    if "max_epochs" in config["counts"]:
        fraction = min(epoch / config["counts"]["max_epochs"], 1.0)
    elif "max_iters" in config["counts"]:
        fraction = min(before / config["counts"]["max_iters"], 1.0)
    assert set(shapes) <= set(sampler.sizes_of_epoch(epoch))
    if curriculum is not None and not curriculum["by_epoch"]:
        assert set(shapes) <= every_size(expected)
        return
    drawn = expected.drawn_at(fraction)
    assert set(shapes) <= drawn == set(sampler.sizes_of_epoch(epoch))
    room = expected.fewest if args["drop_last"] else expected.most
    if args["group_by_aspect_ratio"]:
        spare = sampler.growing_sizes.largest_batch - 1
        room = max(0, room - spare) if args["drop_last"] else room + spare
    assert len(shapes) == expected.iterations(drawn, room, args["drop_last"])


def check_epochs(config, expected, samplers):
    asked = sorted(set(config["epochs"]))
    starts, plans = [0], {}
    for epoch in range(asked[-1] + 1):
        plans[epoch] = samplers[0].plan(epoch)
        starts.append(starts[-1] + len(plans[epoch]))
    for epoch in asked:
        check_epoch(config, expected, samplers, epoch, starts[epoch])
    # A pure function: in any order, after pickling, in another sampler, once more.
    again = pickle.loads(pickle.dumps(samplers[-1]))
    own = {epoch: samplers[-1].plan(epoch) for epoch in asked}
    fresh = build(config, config["world_size"] - 1)
    for sampler in (again, fresh):
        for epoch in reversed(asked):
            assert sampler.plan(epoch) == own[epoch]
    for sampler in (samplers[0], build(config, 0)):
        assert sampler.total_batches(len(starts) - 1) == starts[-1]
        assert [sampler.iterations_before(e) for e in range(len(starts))] == starts
        first, last = starts[-1] // 3, starts[-1]
        flat = list(itertools.chain(*plans.values()))
        assert sampler.plan_iterations(first, last) == flat[first:]
        for iteration in {0, first, last - 1}:
            assert sampler.batch_at_iteration(iteration) == flat[iteration]


def check_stream(config, expected, samplers):
    grouped = config["sampler"]["group_by_aspect_ratio"]
    plan = samplers[0].plan_iterations(0, STREAM)
    for iteration, (height, width, images) in enumerate(plan):
        fraction = 1.0
        if config["curriculum"] is not None:
            fraction = min(iteration / config["counts"]["max_iters"], 1.0)
        assert (height, width) in expected.drawn_at(fraction)
        assert images == expected.batch_size((height, width))
    again = pickle.loads(pickle.dumps(build_pickled(config)))
    assert again.plan_iterations(STREAM // 2, STREAM) == plan[STREAM // 2 :]
    images = Images(config["num"], config["landscape"])
    for rank, sampler in enumerate(samplers):
        assert len(sampler) >= 1
        assert sampler.plan_iterations(0, STREAM) == plan
        assert sampler.batch_at_iteration(7) == plan[7]
        batches = list(itertools.islice(sampler, STREAM))
        assert [(*batch[0].size, len(batch)) for batch in batches] == plan
        assert all(len({i.size for i in batch}) == 1 for batch in batches)
        given = [int(i) for batch in batches for i in batch]
        inner = iter(inner_sampler(config, rank))
        if not grouped:
            assert given == list(itertools.islice(inner, len(given)))
            continue
        assert all(len({wide_of(images, i) for i in b}) == 1 for b in batches)
        for kind in (True, False):
            own = [i for i in given if wide_of(images, i) == kind]
            stream = (
                i for i in inner_sampler(config, rank) if wide_of(images, i) == kind
            )
            assert own == (list(itertools.islice(stream, len(own))) if own else [])
    with pytest.raises(ValueError, match="must have an end"):
        samplers[0].plan(0)


def build_pickled(config):
    """A sampler without a stream: generators do not pickle."""
    sampler = build(config, 0)
    sampler.inner_sampler.indices = ()
    return sampler


def may_be_refused(config):
    """Whether too few images, or a combination, may be at fault."""
    args = config["sampler"]
    if config["num"] == 0:
        return True
    expected = Expected(config)
    if config["curriculum"] is not None:
        # Start or end may lie outside the sizes, or have no weight or table entry.
        return True
    largest = max(map(expected.batch_size, expected.drawn))
    if args["drop_last"] or args["group_by_aspect_ratio"]:
        return expected.fewest < 4 * largest
    if expected.fewest == expected.most:
        return False
    return expected.fewest == 0 or 1 in map(expected.batch_size, expected.drawn)


ARGUMENTS = set(BAD) | {"sampler", "drop_last=True", "group_by_aspect_ratio=True"}
ARGUMENTS |= {"one of max_epochs and max_iters"}


def run(config):
    try:
        samplers = [build(config, rank) for rank in range(config["world_size"])]
    except (ValueError, TypeError) as error:
        named = "|".join(re.escape(name) for name in sorted(ARGUMENTS))
        assert re.match(rf"({named})\b.*\bbut\b", str(error), re.DOTALL), str(error)
        assert config["bad"] or may_be_refused(config), str(error)
        return "bad argument" if config["bad"] else "refused"
    assert config["bad"] is None, f"{config['bad']} was taken"
    expected = Expected(config)
    assert list(samplers[0].sizes) == expected.sizes
    if config["inner"] is InfiniteSampler:
        check_stream(config, expected, samplers)
        return "stream"
    check_epochs(config, expected, samplers)
    return "epochs"


def test_random_configs():
    outcomes = Counter()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,  # the suite's timeout ends a hang
        suppress_health_check=list(HealthCheck),
    )
    @given(configs())
    def check(config):
        outcomes[run(config)] += 1

    check()
    # It looked at enough of each.
    assert outcomes["epochs"] > EXAMPLES / 4 and outcomes["stream"] > EXAMPLES / 16
    assert outcomes["bad argument"] > EXAMPLES / 16 and outcomes["refused"] > 5
