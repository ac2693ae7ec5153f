"""Plans from configs alone against the samplers that a training builds."""

from collections import Counter

import mmengine.dataset.sampler
import pytest
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from toy_configs import plain, training

from mms_plugin.analysis import (
    config_plan,
    is_multi_scale,
)

CURRICULUM = dict(type="ResolutionCurriculumHook", start_sizes=[4], end=0.6)
BY_ITERATION = dict(by_epoch=False, max_iters=50, val_interval=20)


def batch_samplers(config, world_size, monkeypatch):
    """Those that every rank of a training builds, with their curriculum."""
    built = []
    for rank in range(world_size):
        monkeypatch.setattr(
            mmengine.dataset.sampler, "get_dist_info", lambda r=rank: (r, world_size)
        )
        loader = Runner.build_dataloader(config.train_dataloader, seed=7)
        for hook in config.custom_hooks:
            curriculum = HOOKS.build(hook).curriculum
            length = {
                key: value
                for key, value in config.train_cfg.items()
                if key.startswith("max_")
            }
            loader.batch_sampler.set_curriculum(curriculum, **length)
        built.append(loader.batch_sampler)
    return built


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("hook", [None, CURRICULUM, dict(CURRICULUM, by_epoch=False)])
def test_is_what_every_rank_runs(world_size, round_up, drop_last, hook, monkeypatch):
    config = training(
        hook=hook,
        drop_last=drop_last,
        sampler=dict(type="DefaultSampler", shuffle=True, round_up=round_up),
    )
    planned = config_plan(config, num_samples=101, world_size=world_size)
    ranks = batch_samplers(config, world_size, monkeypatch)
    assert planned.by_epoch
    assert len(planned.epochs) == 5
    for epoch, counted in enumerate(planned.epochs):
        plans = [rank.plan(epoch) for rank in ranks]
        assert counted.iterations == len(plans[0])
        assert counted.batches == Counter(plans[0])
        images = Counter()
        for plan in plans:
            for height, width, batch_size in plan:
                images[height, width] += batch_size
        assert counted.images == images


@pytest.mark.parametrize("round_up", [True, False])
def test_our_sampler_counts_as_mmengines_does(round_up):
    plans = [
        config_plan(
            training(sampler=dict(type=kind, round_up=round_up)),
            num_samples=101,
            world_size=3,
        )
        for kind in ("DefaultSampler", "KeyedPermutationSampler")
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("hook", [None, CURRICULUM])
def test_a_training_by_iterations(hook, monkeypatch):
    config = training(
        hook=hook,
        train_cfg=BY_ITERATION,
        sampler=dict(type="InfiniteSampler", shuffle=True),
    )
    planned = config_plan(config, world_size=2)
    (sampler, _) = batch_samplers(config, 2, monkeypatch)
    assert not planned.by_epoch
    assert planned.samples is None
    assert [epoch.iterations for epoch in planned.epochs] == [20, 20, 10]
    for start, counted in zip((0, 20, 40), planned.epochs):
        plan = sampler.plan_iterations(start, min(start + 20, 50))
        assert counted.batches == Counter(plan)
        assert sum(counted.images.values()) == 2 * sum(batch[2] for batch in plan)


def test_iterations_over_epochs_with_an_end(monkeypatch):
    config = training(hook=CURRICULUM, train_cfg=BY_ITERATION)
    planned = config_plan(config, num_samples=101)
    (sampler,) = batch_samplers(config, 1, monkeypatch)
    counted = sum((Counter(epoch.batches) for epoch in planned.epochs), Counter())
    assert counted == Counter(sampler.plan_iterations(0, 50))


def test_groups_by_aspect_ratio_without_the_ratios():
    config = training(group_by_aspect_ratio=True)
    planned = config_plan(config, num_samples=101)
    assert [sum(epoch.images.values()) for epoch in planned.epochs] == [101] * 5
    assert "orientation" in planned.assumptions[0]


def test_one_size_by_hand():
    config = plain(optim_wrapper=dict(accumulative_counts=4))
    planned = config_plan(config, 101, world_size=2, base_size=(6, 8))
    # 51 samples a rank: 12 batches of 4 and one of 3, twice; 26 iterations.
    assert planned.epochs[0] == planned.epochs[1]
    assert planned.epochs[0].batches == {(6, 8, 4): 12, (6, 8, 3): 1}
    assert planned.epochs[0].images == {(6, 8): 102}
    assert planned.iterations == 26
    assert planned.optimizer_updates == 7
    assert planned.assumptions == []
    planned = config_plan(plain(drop_last=True), 101, world_size=2, base_size=(6, 8))
    assert planned.epochs[0].batches == {(6, 8, 4): 12}
    own = plain()
    # MMEngine takes the batch sampler's own size.
    own.train_dataloader.batch_sampler = dict(type="BatchSampler", batch_size=30)
    planned = config_plan(own, 101, base_size=(6, 8))
    assert planned.epochs[0].batches == {(6, 8, 30): 3, (6, 8, 11): 1}
    planned = config_plan(config, 101, base_size=(6, 8), counted_as=(5, 8))
    assert planned.counted_as == {(6, 8): (5, 8)}


def test_one_size_by_iterations():
    config = plain(train_cfg=dict(BY_ITERATION, type="IterBasedTrainLoop"))
    planned = config_plan(config, 10, base_size=(6, 6))
    # Epochs of 4, 4 and 2 images, over and over: 50 iterations are 16 and two thirds.
    total = sum((Counter(epoch.batches) for epoch in planned.epochs), Counter())
    assert total == {(6, 6, 4): 34, (6, 6, 2): 16}


def without_sampler(config):
    config.train_dataloader.pop("sampler")
    return config


def test_one_rank_without_a_sampler():
    """Torch gives it every sample once."""
    planned = config_plan(without_sampler(plain()), 101, base_size=(6, 8))
    assert planned.epochs[0].batches == {(6, 8, 4): 25, (6, 8, 1): 1}


def with_own_batches():
    config = plain()
    config.train_dataloader.batch_sampler = dict(type="OwnBatches")
    return config


def plain_with(**changes):
    config = plain()
    for key, value in changes.items():
        config[key] = {**config.get(key, {}), **value}
    return config


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (dict(train_cfg=dict(max_epochs=1)), {}, "has no train_dataloader"),
        (dict(train_dataloader=dict(batch_size=1)), {}, "has no train_cfg"),
        (plain(train_cfg=dict(by_epoch=True)), {}, "max_epochs of at least 1"),
        (plain(train_cfg=dict(by_epoch=False)), {}, "max_iters of at least 1"),
        (without_sampler(plain()), dict(world_size=2), "must have a sampler"),
        (without_sampler(training()), {}, "must have a sampler"),
        (plain(), dict(world_size=9), "8 samples for world_size=9"),
        (plain(), dict(num_samples=0), "num_samples must be .*got 0"),
        (
            plain(16, drop_last=True),
            dict(base_size=(8, 8)),
            "leaves no batch of 16",
        ),
        (training(), dict(base_size=(8, 8)), "this one has it"),
        (
            training(sampler=dict(type="MultiSourceSampler")),
            {},
            "sampler must be one of.*MultiSourceSampler",
        ),
        (training(sampler=dict(type="InfiniteSampler")), {}, "has no end"),
        (
            with_own_batches(),
            {},
            "batch_sampler must be.*OwnBatches",
        ),
        (
            plain_with(train_dataloader=dict(batch_sampler=dict(base_size=8))),
            {},
            r"batch_sampler must have a type, but got {'base_size': 8} \(--cfg-opt",
        ),
        (plain(0), {}, "train_dataloader.batch_size must be an integer of at least 1"),
        (plain("abc"), {}, "batch_size must be an integer .* but got 'abc'"),
        (
            plain_with(optim_wrapper=dict(accumulative_counts=0)),
            dict(base_size=(8, 8)),
            "optim_wrapper.accumulative_counts must be .* but got 0",
        ),
    ],
)
def test_what_cannot_be_planned(config, arguments, message):
    arguments = {"num_samples": 8, **arguments}
    with pytest.raises(ValueError, match=message):
        config_plan(config, **arguments)


def test_a_number_of_samples_without_effect_is_told():
    endless = training(
        sampler=dict(type="InfiniteSampler"),
        train_cfg=dict(by_epoch=False, max_iters=4),
    )
    assert config_plan(endless).assumptions == []
    assert config_plan(endless, num_samples=5).assumptions == [
        "num_samples=5 has no effect: InfiniteSampler has no end"
    ]
    short = plain()
    short.train_dataloader.num_batch_per_epoch = 2
    planned = config_plan(short, num_samples=100, base_size=(8, 8))
    assert planned.samples.number == 2 * 4
    assert planned.assumptions == [
        "num_samples=100 has no effect: num_batch_per_epoch sets the number"
    ]


def test_a_sampler_of_the_users_own():
    config = training(sampler=dict(type="MySampler"))
    planned = config_plan(config, num_samples=8)
    assert planned.iterations == config_plan(training(), num_samples=8).iterations
    assert planned.assumptions == ["MySampler shares 8 samples per epoch among ranks"]
    with pytest.raises(ValueError, match="got MySampler; for a sampler of your own"):
        config_plan(config)


def test_is_multi_scale():
    assert is_multi_scale(training())
    assert not is_multi_scale(plain())
    assert not is_multi_scale({})
