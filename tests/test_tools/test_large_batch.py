"""The benchmark of large batches: its arms, its page, and a run on made data."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mmdet")

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "benchmarks"))

import large_batch  # noqa: E402
from agvm_lab import config, grid, page, summary, tables  # noqa: E402
from agvm_lab.protocol import SMOKE, Protocol  # noqa: E402
from lab import scenes  # noqa: E402

PROTOCOL = Protocol()
SCRIPT = ROOT / "tools" / "benchmarks" / "large_batch.py"
MODULES = ("backbone", "neck", "rpn_head", "roi_head.bbox_head")


def squeezed(text):
    """Tables without the spaces that align their columns."""
    return re.sub(" +", " ", text)


def made(arm, ap, **changes):
    """The result of an arm, as the benchmark writes it."""
    updates = PROTOCOL.updates(arm["batch"], PROTOCOL.epochs)
    measured, multipliers = [], {}
    if arm["agvm"]:
        multipliers = dict(zip(MODULES, (1.0, 1.2, 1.4, 1.6)))
        measured = [
            dict(
                update=updates * part // 10,
                phi=dict.fromkeys(MODULES, 0.1 * part),
                mu=multipliers,
            )
            for part in range(2, 11)
        ]
    return dict(
        arm,
        ap=ap,
        diverged=False,
        updates=updates,
        measured=measured,
        mean_multipliers=multipliers,
        cpu_seconds=600.0,
        mask_ap=ap / 2,
        **changes,
    )


def by_peak(arm):
    """AP that falls with the distance from a best rate; AGVM's is twice as high."""
    peak = grid.START_RATES[arm["optimizer"]][arm["batch"]][1]
    peak *= 4 if arm["agvm"] else 1
    return 20.0 - 4 * abs(math.log2(arm["lr"] / peak)) + (1 if arm["agvm"] else 0)


def grown(number=10_000, ap=by_peak):
    """Results of the first arms that follow from each other."""
    results = []
    while len(results) < number:
        done = {result["name"] for result in results}
        pending = [arm for arm in grid.plan(results) if arm["name"] not in done]
        if not pending:
            break
        results.append(made(pending[0], max(0.0, ap(pending[0]))))
    return results


# --------------------------------------------------------------------------- rates
START = (1.0, 2.0, 4.0)


@pytest.mark.parametrize(
    "curves, expected",
    [
        # Nothing known, or not all: the grid as it is.
        ([{}, {}], [1, 2, 4]),
        ([{1.0: 5, 2.0: 6}, {}], [1, 2, 4]),
        # The best one within.
        ([{1.0: 5, 2.0: 6, 4.0: 5}, {}], [1, 2, 4]),
        # At the upper or lower end, and at both by two curves.
        ([{1.0: 5, 2.0: 6, 4.0: 7}, {}], [1, 2, 4, 8]),
        ([{1.0: 7, 2.0: 6, 4.0: 5}, {}], [0.5, 1, 2, 4]),
        ([{1.0: 7, 2.0: 6, 4.0: 5}, {1.0: 5, 2.0: 6, 4.0: 7}], [0.5, 1, 2, 4, 8]),
        # It grows again, and stops where the new end is worse.
        ([{1.0: 5, 2.0: 6, 4.0: 7, 8.0: 9}, {}], [1, 2, 4, 8, 16]),
        ([{1.0: 5, 2.0: 6, 4.0: 7, 8.0: 0}, {}], [1, 2, 4, 8]),
        # All diverged: lower rates.
        ([{1.0: 0, 2.0: 0, 4.0: 0}, {}], [0.5, 1, 2, 4]),
        # Equal ones count as the lowest.
        ([{1.0: 5, 2.0: 6, 4.0: 6}, {}], [1, 2, 4]),
    ],
)
def test_rates_grow_where_the_best_lies_at_the_end(curves, expected):
    assert grid.sweep_rates(START, curves) == expected


def test_rates_do_not_grow_without_end():
    class Rising(dict):
        """The higher the rate the better, for all rates."""

        def __contains__(self, rate):
            return True

        def __getitem__(self, rate):
            return rate

    assert len(grid.sweep_rates(START, [Rising()])) == grid.MOST_RATES


def test_starting_rates_are_a_factor_of_two_apart():
    for batches in grid.START_RATES.values():
        for rates in batches.values():
            assert all(2 * low == high for low, high in zip(rates, rates[1:]))


def test_a_diverged_arm_counts_as_nothing():
    arms = [grid.make_arm("sgd", 256, False, rate) for rate in (0.04, 0.08)]
    results = [made(arms[0], 3.0), dict(made(arms[1], 0.0), diverged=True)]
    assert grid.curve(results, optimizer="sgd") == {0.04: 3.0, 0.08: 0.0}
    assert grid.best_rate(grid.curve(results)) == 0.04
    assert grid.best_rate({0.08: 0.0}) is None


# ---------------------------------------------------------------------------- plan
def test_plan_begins_with_batch_256_and_names_every_arm_once():
    names = [arm["name"] for arm in grid.plan([])]
    assert names[:2] == [
        "faster-rcnn_sgd_b256_plain_lr0.08_s0",
        "faster-rcnn_sgd_b256_agvm_lr0.08_s0",
    ]
    whole = [arm["name"] for arm in grid.plan(grown())]
    assert len(whole) == len(set(whole))


def test_plan_of_a_whole_benchmark():
    results = grown()
    # AGVM's peak lies at the upper end of the starting grid times two.
    plain, agvm = (summary.best_of(results, "sgd", 256, kind) for kind in (False, True))
    assert (plain.rate, agvm.rate) == (0.08, 0.32)
    assert plain.complete and agvm.complete
    rates = grid.Sweep(results, "sgd", 256).rates
    assert rates == [0.04, 0.08, 0.16, 0.32, 0.64]
    for optimizer in ("sgd", "adamw"):
        for batch in (16, 64, 256, 1024):
            for kind in grid.sweep_kinds(optimizer, batch):
                best = summary.best_of(results, optimizer, batch, kind)
                assert len(best.aps) == (1 if batch in (64, 1024) else 3)
    variants = {arm["variant"] for arm in results}
    assert {"fixed", "heads-1.5", "mean-rate", "anchor-neck", "long"} <= variants
    assert {"measurements-20", "measurements-400", "two-ranks", "vbs-cur"} <= variants
    assert "published-interval" in variants
    averaged = grid.select(results, variant="ema", optimizer="adamw")
    assert [arm["agvm"] for arm in averaged] == [False, True]
    for arm in averaged:
        best = summary.best_of(results, "adamw", 256, arm["agvm"])
        assert arm["lr"] == best.rate and arm["batch"] == 256
    text = squeezed(tables.averaged(results))
    assert f"| SGD | 256 | AGVM | {agvm.rate:g} | 21.0 | " in text
    assert {arm["model"] for arm in results} >= {"mask-rcnn", "retinanet"}
    # RetinaNet has half the rate of Faster R-CNN, as in mmdet, Swin a quarter.
    rates = {
        model: {arm["lr"] for arm in grid.select(results, model=model)}
        for model in ("faster-rcnn-swin", "retinanet")
    }
    assert rates["retinanet"] == {rate * 2 for rate in rates["faster-rcnn-swin"]}
    assert not any(variant.startswith("edge") for variant in variants)
    found = grid.select(results, variant="pretrained")
    assert all(arm["settings"]["pretrained"] for arm in found)
    for optimizer in ("sgd", "adamw"):
        best = summary.best_of(results, optimizer, 256, True, "pretrained")
        assert best.complete and len(best.aps) == 1
        assert grid.select(found, optimizer=optimizer, batch=16, seed=0)
    text = squeezed(tables.pretrained(results))
    assert "| SGD | 256 | AGVM | 0.04: " in text and "| AdamW | 16 | plain |" in text
    longer = grid.select(results, variant="pretrained-long", optimizer="sgd")
    best = summary.best_of(results, "sgd", 256, True, "pretrained")
    assert [arm["agvm"] for arm in longer] == [False, True]
    assert longer[1]["lr"] == best.rate
    assert longer[1]["settings"] == dict(
        pretrained=True, start_factor=2.0, epoch_factor=2
    )
    (arm,) = grid.select(
        results, variant="pretrained", optimizer="sgd", agvm=True, lr=best.rate
    )
    # A second seed that diverges there: no rate to train longer at.
    without = grid.plan([*results, dict(arm, seed=1, diverged=True)])
    assert not grid.select(without, variant="pretrained-long", optimizer="sgd")
    assert grid.select(without, variant="pretrained-long", optimizer="adamw")
    text = squeezed(tables.long_runs(results))
    for backbone in ("scratch", "trained"):
        for batch in (256, 16):
            assert f"| SGD | {backbone} | {batch} |" in text
    assert "| AdamW | scratch | 1024 |" in text
    pair = grid.select(results, variant="long", optimizer="sgd", batch=1024)
    assert [(arm["agvm"], arm["lr"]) for arm in pair] == [
        (False, agvm.rate),
        (True, agvm.rate),
    ]
    pair[1]["diverged"] = True
    planned = grid.select(grid.plan(results), optimizer="sgd", variant="long")
    late = grid.select(grid.plan(results), batch=1024, variant="long-start-late")
    assert [(arm["agvm"], arm["lr"]) for arm in late] == [(True, agvm.rate)]
    assert late[0]["settings"] == dict(epoch_factor=4, start_factor=2.0)
    after = grid.plan([*results, made(late[0], 12.0)])
    larger = grid.select(after, batch=1024, variant="long", lr=2 * agvm.rate)
    assert [arm["agvm"] for arm in larger] == [False]
    raised = grid.select(after, batch=1024, variant="mean-rate-long", optimizer="sgd")
    again = grid.select(after, batch=1024, variant="long-start-late")
    assert [arm["lr"] for arm in again] == [agvm.rate, raised[-1]["lr"]]
    # It ends there.
    assert len(
        grid.plan([*results, *map(made, [late[0], again[1]], [12.0, 13.0])])
    ) == len(after)
    below = [arm for arm in planned if arm["batch"] == 1024][2:]
    assert [(arm["agvm"], arm["lr"]) for arm in below] == [
        (False, agvm.rate / 2),
        (True, agvm.rate / 2),
    ]
    pair[1]["diverged"] = False
    best = summary.best_of(results, "adamw", 1024, True, "long")
    assert best.complete and len(best.aps) == 3
    raised = grid.select(results, variant="mean-rate-long", batch=1024)
    for rate in (best.rate, agvm.rate):
        assert any(arm["lr"] == pytest.approx(rate * 1.3) for arm in raised)
    for arm in raised:
        assert not arm["agvm"] and arm["settings"] == dict(epoch_factor=4)


def test_where_agvm_needs_a_lower_rate_a_later_start_is_tried_with_more_epochs():
    def ap(arm):
        peak = 0.08 if arm["optimizer"] == "sgd" else 3.2e-3
        peak *= 0.5 if arm["agvm"] and arm["optimizer"] == "sgd" else 1
        return 20.0 - 4 * abs(math.log2(arm["lr"] / peak))

    usual = grown()
    assert not grid.select(usual, batch=256, variant="long-start-late")
    for kind in (False, True):
        arms = grid.select(usual, optimizer="sgd", batch=256, variant="long", agvm=kind)
        assert [arm["seed"] for arm in arms] == [0, 1, 2]
    (raised,) = grid.select(
        usual, optimizer="sgd", batch=256, variant="mean-rate-long", agvm=False
    )
    assert raised["lr"] == pytest.approx(1.3 * arms[0]["lr"])
    assert raised["settings"] == dict(epoch_factor=2)
    late = grid.select(grown(ap=ap), batch=256, variant="long-start-late")
    assert {(a["optimizer"], a["agvm"], a["lr"]) for a in late} == {("sgd", True, 0.08)}
    assert [arm["seed"] for arm in late] == [0, 1, 2]
    assert late[0]["settings"] == dict(epoch_factor=2, start_factor=2.0)
    results = grown(ap=ap)
    plain = grid.select(results, optimizer="sgd", batch=256, variant="long", agvm=False)
    assert {arm["lr"] for arm in plain} == {0.08}
    plain[1]["diverged"] = True
    planned = grid.select(grid.plan(results), optimizer="sgd", variant="long")
    below = [(a["agvm"], a["seed"]) for a in planned if a["lr"] == 0.04]
    assert {(False, 0), (True, 0)} <= {*below}
    text = squeezed(tables.long_runs(late))
    assert "| AGVM, start at twice the time | 0.08 | 16.0 (16.0 to 16.0) |" in text


@pytest.mark.parametrize("lost", ["plain", "AGVM"])
def test_a_seed_that_diverges_brings_seeds_at_the_rate_below(lost):
    rate, below = dict(plain=(0.08, 0.04), AGVM=(0.32, 0.16))[lost]
    results = grown()
    for arm in grid.select(
        results, optimizer="sgd", batch=256, variant="default", lr=rate, seed=1
    ):
        arm["diverged"] = arm["model"] == "faster-rcnn"
    planned = [
        arm
        for arm in grid.plan(results)
        if arm["seed"] and arm["optimizer"] == "sgd" and arm["batch"] == 256
    ]
    found = grid.select(planned, lr=below, variant="default")
    wanted = {(agvm, seed) for agvm in (False, True) for seed in (1, 2)}
    assert {(arm["agvm"], arm["seed"]) for arm in found} == wanted
    # Is the gain there that of a larger rate?
    raised = grid.select(planned, variant="mean-rate-below", agvm=False)
    assert {arm["seed"] for arm in raised} == ({1, 2} if lost == "AGVM" else set())
    mean = (1.0 + 1.2 + 1.4 + 1.6) / 4
    assert all(arm["lr"] == pytest.approx(mean * below, rel=1e-3) for arm in raised)
    # What started too early is tried with a later start.
    late = grid.select(planned, variant="start-late")
    assert {arm["seed"] for arm in late} == ({1, 2} if lost == "AGVM" else set())
    text = squeezed(tables.seeds(results))
    aps = r"[\d.]+, diverged, [\d.]+"
    assert re.search(rf"\| SGD \| 256 \| scratch \| {rate} \| {lost} \| {aps} \|", text)


def test_a_seed_that_is_not_trained_yet_leaves_a_gap():
    arms = [grid.make_arm("sgd", 256, False, 0.04, seed=seed) for seed in (0, 2)]
    text = squeezed(tables.seeds([made(arm, 20.0 + arm["seed"]) for arm in arms]))
    assert "| SGD | 256 | scratch | 0.04 | plain | 20.0, ?, 22.0 |" in text


def test_a_best_rate_at_the_end_of_a_full_grid_is_not_complete():
    results = []
    for _ in range(grid.MOST_RATES):
        for arm in grid.Sweep(results, "lamb", 256).arms():
            if arm["name"] not in {result["name"] for result in results}:
                results.append(made(arm, 100 * arm["lr"]))
    assert len(results) == grid.MOST_RATES
    best = summary.best_of(results, "lamb", 256, False)
    assert best.rate == max(result["lr"] for result in results) and not best.complete


def test_ablations_take_the_multipliers_that_agvm_measured():
    results = grown()
    fixed, heads, mean = (
        next(
            arm
            for arm in results
            if arm["variant"] == variant and arm["optimizer"] == "sgd"
        )
        for variant in ("fixed", "heads-1.5", "mean-rate")
    )
    multipliers = dict(zip(MODULES, (1.0, 1.2, 1.4, 1.6)))
    assert fixed["settings"]["multipliers"] == multipliers and not fixed["agvm"]
    assert heads["settings"]["multipliers"] == {
        "rpn_head": 1.5,
        "roi_head.bbox_head": 1.5,
    }
    assert fixed["lr"] == heads["lr"] == 0.32
    assert mean["lr"] == pytest.approx(0.32 * (1.0 + 1.2 + 1.4 + 1.6) / 4)


def test_the_lowest_rate_that_only_agvm_loses_is_looked_into():
    results = [
        dict(made(arm, 0.0 if lost else 20.0 - abs(rate - 0.08)), diverged=lost)
        for rate, losers in ((0.04, ""), (0.08, ""), (0.16, "agvm"), (0.32, "both"))
        for kind in (False, True)
        for arm in [grid.make_arm("sgd", 256, kind, rate)]
        for lost in [losers == "both" or (losers == "agvm" and kind)]
    ]
    found = grid.edges(results, grid.Sweep(results, "sgd", 256), 3)
    assert {(arm["variant"], arm["agvm"]) for arm in found} == {
        ("edge-start-late", True),
        ("edge-anchor-rpn-head", True),
        ("edge-bound-2", True),
        ("edge-clipped", True),
        ("edge-clipped", False),
        ("edge-warmup", True),
        ("edge-warmup", False),
    }
    assert {arm["lr"] for arm in found} == {0.16}
    assert {arm["name"] for arm in found} <= {a["name"] for a in grid.plan(results)}
    results += [made(arm, 21.0) for arm in found]
    more = grid.edges(results, grid.Sweep(results, "sgd", 256), 3)[len(found) :]
    assert [arm["seed"] for arm in more] == [1, 2]
    assert {arm["variant"] for arm in more} == {"edge-start-late"}
    text = squeezed(tables.edges(results))
    assert "| SGD | AGVM | 0.16 | diverged at update 480 of 480 |" in text
    assert "| SGD | plain, clipped to the end | 0.16 | 21.0 |" in text
    assert grid.edges(results[:4], grid.Sweep(results[:4], "sgd", 256), 3) == []


# ------------------------------------------------------------------------ settings
def test_protocol_is_the_released_recipe_at_batch_256():
    # 16 epochs of 458 iterations; 920 of them warm up, clipping from 820 to 1020.
    released = Protocol(train_images=458 * 256, epochs=16)
    updates = released.updates(256, 16)
    assert updates == 7328
    assert released.warmup_updates(updates) == pytest.approx(920, abs=0.5)
    begin, end = released.clip_range(updates)
    assert (begin, end) == (819, 1020) or (begin, end) == (820, 1020)
    assert [part * 16 for part in released.decays] == [12, 14]


@pytest.mark.parametrize("batch, updates", [(16, 7680), (256, 480), (1024, 120)])
def test_agvm_measures_often_enough(batch, updates):
    assert PROTOCOL.updates(batch, PROTOCOL.epochs) == updates
    chosen = PROTOCOL.agvm(updates)
    number = -(-(updates - chosen["start"]) // chosen["interval"])
    assert number >= 100
    span = 1 / (1 - chosen["momentum"])
    assert span == pytest.approx(number / 6, rel=0.05)


def test_wanted_measurements_are_made():
    for wanted in (20, 50, 100, 400):
        chosen = PROTOCOL.agvm(480, wanted)
        number = -(-(480 - chosen["start"]) // chosen["interval"])
        assert number == pytest.approx(wanted, rel=0.05)


def test_a_batch_that_does_not_divide_the_images_is_refused():
    with pytest.raises(ValueError, match="batch must be a multiple .* but got 48"):
        PROTOCOL.counts(48)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return scenes.draw(tmp_path_factory.mktemp("sets"), "detection", "train", 16, 64)


SMALL = Protocol(train_images=16, val_images=16, epochs=2, micro_batch=2)


def wrapper_of(drawn, **settings):
    """The optimizer wrapper that an arm trains with, on its real model."""
    from mmdet.registry import MODELS
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import DefaultScope

    arm = grid.make_arm("sgd", 4, settings.pop("agvm", False), 0.5, **settings)
    made = config.runner_config(arm, SMALL, drawn, drawn)
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(made["model"])
    return model, build_optim_wrapper(model, made["optim_wrapper"])


def test_fixed_multipliers_scale_the_rates_of_their_modules(drawn):
    multipliers = {"backbone": 1.0, "neck": 1.25, "roi_head.bbox_head": 2.0}
    model, wrapper = wrapper_of(drawn, variant="fixed", multipliers=multipliers)
    rates = {
        id(param): group["lr"]
        for group in wrapper.optimizer.param_groups
        for param in group["params"]
    }
    for name, param in model.named_parameters():
        factor = [mu for key, mu in multipliers.items() if name.startswith(key + ".")]
        assert rates[id(param)] == pytest.approx(0.5 * (factor or [1.0])[0]), name


def test_agvm_arms_start_when_clipping_ends_and_may_have_another_anchor(drawn):
    _, wrapper = wrapper_of(
        drawn, agvm=True, variant="anchor-neck", agvm_args=dict(anchor="neck")
    )
    assert wrapper.agvm.anchors == ["neck"]
    updates = SMALL.updates(4, 2)
    assert wrapper.agvm.config.start_iter == SMALL.clip_range(updates)[1] * 2


def test_clipping_ends_with_the_warm_up_unless_told_otherwise(drawn):
    ends = {}
    for variant, settings in (("default", {}), ("edge", dict(clip_to_end=True))):
        arm = grid.make_arm("sgd", 4, False, 0.5, variant=variant, **settings)
        hooks = config.runner_config(arm, SMALL, drawn, drawn)["custom_hooks"]
        (clips,) = (hook for hook in hooks if hook["type"] == "ClipGradRangeHook")
        ends[variant] = clips["end"]
    assert ends == {"default": SMALL.clip_range(8)[1] * 2, "edge": None}


def test_the_published_interval_starts_when_others_do(drawn):
    published = dict(interval=10, momentum=0.97)
    _, wrapper = wrapper_of(
        drawn, agvm=True, variant="published-interval", agvm_args=published
    )
    _, usual = wrapper_of(drawn, agvm=True)
    assert wrapper.agvm.config.interval == 10 != usual.agvm.config.interval
    assert wrapper.agvm.config.momentum == 0.97 != usual.agvm.config.momentum
    assert wrapper.agvm.config.start_iter == usual.agvm.config.start_iter


def test_a_longer_warm_up_moves_clipping_and_the_start_of_agvm(drawn):
    configs = [
        config.runner_config(
            grid.make_arm("sgd", 4, True, 0.5, warmup_factor=factor),
            Protocol(train_images=1600, epochs=2, micro_batch=2),
            drawn,
            drawn,
        )
        for factor in (1, 2)
    ]
    # 800 updates of two iterations; the usual warm-up has 100.4 of them.
    ends = [made["param_scheduler"][1]["end"] - 1 for made in configs]
    assert ends == [201, 402]
    usual, late = (
        next(h for h in made["custom_hooks"] if h["type"] == "ClipGradRangeHook")
        for made in configs
    )
    assert (usual["begin"], usual["end"]) == (2 * 89, 2 * 111)
    assert (late["begin"], late["end"]) == (2 * 178, 2 * 223)
    starts = [made["optim_wrapper"]["agvm"]["start_iter"] for made in configs]
    assert starts == [usual["end"], late["end"]]


def test_rates_warm_up_exponentially_and_fall_twice():
    import torch
    from mmengine.optim import OptimWrapper
    from mmengine.registry import PARAM_SCHEDULERS

    parameter = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([parameter], lr=1.0))
    schedulers = [
        PARAM_SCHEDULERS.build(dict(item, optimizer=wrapper))
        for item in config.schedule(PROTOCOL, 3840, 8)
    ]
    rates = []
    for _ in range(3840):
        rates.append(wrapper.get_lr()["lr"][0])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    warmup = round(PROTOCOL.warmup * 3840)
    assert rates[0] == pytest.approx(0.001)
    assert rates[warmup // 2] == pytest.approx(0.001**0.5, rel=0.01)
    assert rates[warmup] == pytest.approx(1.0, rel=0.01)
    assert rates[2879] == pytest.approx(1.0) and rates[2880] == pytest.approx(0.1)
    assert rates[3360] == pytest.approx(0.01)


# -------------------------------------------------------------------- real trainings
@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return large_batch.Trainer(SMOKE, tmp_path_factory.mktemp("work"))


@pytest.mark.distributed
def test_two_ranks_make_the_updates_of_one(trainer, tmp_path):
    arm = grid.make_arm("sgd", 4, True, 0.01, variant="two-ranks", ranks=2)
    result = trainer(arm, tmp_path)
    assert result["updates"] == 4 and result["images"] == 16
    assert not result["diverged"] and result["mean_multipliers"]["neck"] != 1
    # Halves are those of the ranks, and each has one micro-batch an update.
    assert len(result["loss"]) == 4 and len(result["measured"]) == 3


def test_averaged_weights_are_evaluated_and_the_training_is_the_same(trainer, tmp_path):
    arm = grid.make_arm("sgd", 4, True, 0.01, variant="ema", ema=True)
    hook = trainer.config(arm)["custom_hooks"][-1]
    # Two iterations an update, so that fifty updates are spanned.
    assert hook == dict(type="EMAHook", momentum=pytest.approx(1 / 100))
    result = trainer(arm, tmp_path / "ema")
    usual = trainer(grid.make_arm("sgd", 4, True, 0.01), tmp_path / "usual")
    assert result["loss"] == usual["loss"] and result["measured"] == usual["measured"]


def test_multi_scale_arm_takes_fewer_updates(trainer, tmp_path):
    arm = grid.make_arm("sgd", 4, True, 0.01, variant="vbs-cur", multi_scale=True)
    result = trainer(arm, tmp_path)
    # 16 images in batches of 3 at 48 px, 2 at 64 px and 1 at 80 px, full ones only.
    assert 12 < result["images"] <= 16
    assert 0 < result["updates"] < 4


def test_pretrained_arms_share_a_backbone_of_other_scenes(trainer, tmp_path):
    import torch
    from mmdet.registry import MODELS
    from mmengine.registry import DefaultScope
    from mmengine.runner import CheckpointLoader

    own = dict(variant="pretrained", pretrained=True, start_factor=2.0)
    result = trainer(grid.make_arm("sgd", 4, True, 0.01, **own), tmp_path)
    assert result["images"] == 16 and not result["diverged"]
    path = trainer.backbone()
    weights = CheckpointLoader.load_checkpoint(str(path))["state_dict"]
    arm = trainer.config(grid.make_arm("sgd", 4, False, 0.01, **own))
    with DefaultScope.overwrite_default_scope("mmdet"):
        model = MODELS.build(arm["model"])
    model.init_weights()
    assert all(
        torch.equal(value, weights[f"backbone.{name}"])
        for name, value in model.backbone.state_dict().items()
    )
    scenes = {p.name for p in (trainer.work_dir / "scenes").iterdir() if p.is_dir()}
    assert {name.rsplit("_", 2)[1] for name in scenes} == {"seed0", "seed1"}
    written = path.stat().st_mtime_ns
    assert trainer.backbone().stat().st_mtime_ns == written


@pytest.mark.parametrize("model", grid.OTHER_MODELS)
def test_other_models_train(trainer, tmp_path, model):
    result = trainer(grid.make_arm("adamw", 4, True, 1e-3, model=model), tmp_path)
    heads = dict.fromkeys(("retinanet",), "bbox_head")
    head = heads.get(model, "roi_head.bbox_head")
    assert result["mean_multipliers"][head] != 1
    assert ("mask_ap" in result) == (model == "mask-rcnn")
    if model == "panoptic-fpn":
        assert result["mean_multipliers"]["semantic_head"] != 1
        assert result["metric"] == "scenes/PQ"


# ---------------------------------------------------------------------------- page
def test_page_of_a_whole_benchmark_has_every_table_and_figure(tmp_path):
    results = grown()
    page.write_page(results, tmp_path / "page.md")
    text = squeezed((tmp_path / "page.md").read_text())
    assert tables.NOTHING not in text and "not trained yet" not in text
    assert "There is no such rate." in text
    # Best rates: seeds alike, so that the spread is nothing and AGVM's lead is 1.
    assert "| SGD | 256 | 480 | 0.08 | 20.0 (20.0 to 20.0) | 0.32 | 21.0" in text
    assert "| +1.0 | +1.0 |" in text
    figures = ("ap_over_batch", "ap_over_rate", "phi_over_batch")
    for name in (*figures, "phi_over_training", "multipliers"):
        picture = (tmp_path / f"page_{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG") and f"(page_{name}.png)" in text


def test_page_of_an_unfinished_benchmark_says_what_is_missing(tmp_path):
    (tmp_path / "page.md").write_text("# Ours\n\nKept.\n")
    page.write_page(grown(3), tmp_path / "page.md")
    text = squeezed((tmp_path / "page.md").read_text())
    assert text.startswith("# Ours\n\nKept.\n")
    pending = len(grid.plan(grown(3))) - 3
    assert f"{pending} are not trained yet (`--list` names them)" in text
    assert "0.08 ?" in text and "have not all been trained" in text
    assert tables.NOTHING in text


def test_the_best_rate_of_longer_trainings_may_be_off_the_grid():
    long = dict(variant="long", epoch_factor=4)
    results = [
        made(grid.make_arm("sgd", 1024, False, 0.08, **long), 29.0),
        made(grid.make_arm("sgd", 1024, True, 0.08, **long), 30.0),
    ]
    assert "| 0.08 ? | 29.0 | 0.08 ? | 30.0 | +1.0 |" in squeezed(
        tables.best_rates(results)
    )
    raised = dict(variant="mean-rate-long", epoch_factor=4)
    results.append(made(grid.make_arm("sgd", 1024, False, 0.12, **raised), 32.0))
    assert "| 0.12 ? | 32.0 | 0.08 ? | 30.0 | −2.0 |" in squeezed(
        tables.best_rates(results)
    )


def test_tables_of_single_seeds_and_diverged_arms():
    pairs = [
        [grid.make_arm("sgd", 256, kind, rate) for kind in (False, True)]
        for rate in (0.04, 0.08, 0.16)
    ]
    results = [made(pairs[0][0], 20.0), made(pairs[0][1], 21.5)]
    # One rate says nothing of a range, one seed nothing of a spread.
    assert "0.04: 21.5 (+1.5) | |" in squeezed(tables.all_rates(results))
    assert "| 21.5 | +1.5 | |" in squeezed(tables.best_rates(results))
    results += [
        made(pairs[1][0], 23.0),
        made(pairs[1][1], 24.5),
        dict(made(pairs[2][0], 0.0), diverged=True),
        made(pairs[2][1], 24.0),
    ]
    text = squeezed(tables.all_rates(results))
    assert "0.08: 23.0, 0.16: diverged | 0.08 only |" in text
    assert "0.08: 24.5 (+1.5), 0.16: 24.0 | 0.08 to 0.16 (× 2) |" in text
    again = dict(made(pairs[1][0], 0.0), seed=1, diverged=True)
    text = squeezed(tables.best_rates([*results, again]))
    assert "; 1 of 2 seeds diverged |" in text and " (0.0 to" not in text
    early = grid.make_arm("sgd", 256, True, 0.08, variant="start-early")
    results.append(dict(made(early, 0.0), diverged=True))
    text = squeezed(tables.schedules(results))
    assert "| start at half the time | 0.08 | diverged | |" in text


def test_page_without_results(tmp_path):
    page.write_page([], tmp_path / "page.md")
    text = squeezed((tmp_path / "page.md").read_text())
    assert "0 arms have been trained" in text and not list(tmp_path.glob("*.png"))


def test_middle_variances_are_those_of_the_middle_third():
    arm = made(grid.make_arm("sgd", 256, True, 0.08), 1.0)
    # Of 480 updates at tenths, those between 160 and 320: the 4th, 5th and 6th.
    values = summary.middle_variances(arm)
    assert values["neck"] == pytest.approx(0.5)
    assert summary.middle_variances(dict(arm, measured=[])) == {}


def test_good_rates_and_their_factor():
    values = {0.01: 8.0, 0.02: 9.5, 0.04: 10.0, 0.08: 9.0, 0.16: 0.0}
    assert summary.good_rates(values) == [0.02, 0.04, 0.08]
    assert summary.stable_factor([0.02, 0.04, 0.08]) == 4
    assert summary.good_rates({0.1: 0.0}) == [] and summary.stable_factor([]) == 0


# ------------------------------------------------------------------------- command
def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def test_smoke_trains_arms_and_writes_nothing_around_it(tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "docs").rglob("*")}
    done = run("--smoke", cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {p: p.stat().st_mtime_ns for p in (ROOT / "docs").rglob("*")} == before
    assert not list(tmp_path.iterdir())
    results = json.loads(done.stdout)["arms"]
    keys = {"task", "model", "optimizer", "batch", "agvm", "variant", "lr", "seed"}
    for arm in results:
        assert keys | {"updates", "ap", "diverged", "commit", "command"} <= arm.keys()
        assert 0 <= arm["ap"] <= 100
    (adamw,) = [arm for arm in results if arm["optimizer"] == "adamw"]
    assert adamw["updates"] == 4
    assert adamw["measured"][-1]["mu"]["neck"] != 1
    assert adamw["images"] == 16
    diverged = [arm for arm in results if arm["diverged"]]
    assert [arm["lr"] for arm in diverged] == [1e6] and diverged[0]["ap"] == 0


def test_list_shows_done_and_pending_arms(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    for number, result in enumerate(grown(2)):
        result["diverged"] = bool(number)
        (results / f"{result['name']}.json").write_text(json.dumps(result))
    done = run("--list", "--results", results, "--only", "*sgd_b256*", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert lines[0] == ["AP", "20.0  faster-rcnn_sgd_b256_plain_lr0.08_s0"]
    assert lines[1] == ["diverged", "faster-rcnn_sgd_b256_agvm_lr0.08_s0"]
    assert {line[0] for line in lines[2:]} == {"pending"} and len(lines) == 12
    assert "2 of 12 arms are done" in done.stderr


def test_bad_input(tmp_path):
    done = run("--seeds", "0", cwd=tmp_path)
    assert done.returncode == 2 and "--seeds must be at least 1" in done.stderr
