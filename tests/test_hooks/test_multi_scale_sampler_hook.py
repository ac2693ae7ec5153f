"""The hook that resumes exactly, without a curriculum and in changed settings."""

import math
from pathlib import Path

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmengine.registry import DATA_SAMPLERS, HOOKS
from resume_toys import INFINITE, ITERATIONS, dataset, used

from mms_plugin.hooks import MultiScaleSamplerHook


@HOOKS.register_module()
class NoteLearningRate(Hook):
    """Notes the learning rate of every iteration."""

    priority = "VERY_LOW"

    def __init__(self):
        self.lrs = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.lrs += runner.optim_wrapper.get_lr()["lr"]


def test_without_a_curriculum_the_epoch_continues_too(train):
    hooks = [dict(type="MultiScaleSamplerHook")]
    whole = train("whole", hooks=hooks)
    train("cut", hooks=hooks, stop=8)
    resumed = train("cut", hooks=hooks, resume=True)
    assert resumed.seen == whole.seen[6:]
    assert resumed.iter == resumed.max_iters == whole.iter
    assert resumed.loaded == [i for _, batch in resumed.seen for i in batch]


@pytest.mark.parametrize(
    "changes",
    [dict(), dict(ITERATIONS, loader=dict(sampler=INFINITE))],
    ids=["epochs", "iterations"],
)
def test_a_run_without_a_seed_goes_on_with_the_one_it_drew(train, changes):
    settings = dict(changes, randomness=dict(seed=None))
    cut = train("cut", stop=8, **settings)
    resumed = train("cut", resume=True, **settings)
    # The two iterations after the checkpoint come out as they did.
    assert resumed.seen[:2] == cut.seen[6:]


@pytest.mark.parametrize("batch_size", [2, 3, 8])
def test_another_batch_size_plans_the_rest_of_the_epoch_anew(train, batch_size):
    cut = train("cut", stop=5, interval=5)
    before = used(cut)
    resumed = train("cut", resume=True, interval=50, loader=dict(batch_size=batch_size))
    sampler = resumed.train_dataloader.batch_sampler
    total = sampler.total_batches(4)
    assert resumed.iter == resumed.max_iters == total
    first = used(resumed)[: 50 - len(before)]
    assert sorted(before + first) == list(range(50))
    later = used(resumed)[50 - len(before) :]
    for epoch in range(3):
        assert sorted(later[50 * epoch : 50 * (epoch + 1)]) == list(range(50))
    for (height, width), batch in resumed.seen:
        assert len(batch) <= max(1, batch_size * 64 // (height * width))
    # The schedule ends with the training.
    assert resumed.param_schedulers[0].last_step == total - 1
    last = 0.1 * (1 + math.cos(math.pi * (total - 1) / total)) / 2
    assert resumed.optim_wrapper.get_lr()["lr"][0] == pytest.approx(last)


def test_a_data_set_that_has_grown_is_refused_within_an_epoch(train):
    train("cut", stop=5, interval=5)
    with pytest.raises(ValueError, match="50 samples.*60.*an epoch's end"):
        train("cut", resume=True, loader=dict(dataset=dataset(60)))


def test_and_is_taken_at_an_epochs_end(train):
    whole = train("whole")
    length = len(whole.train_dataloader.batch_sampler.plan(0))
    keep = dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)))
    train("cut", stop=length + 1, **keep)
    resumed = train("cut", resume=True, loader=dict(dataset=dataset(60)), **keep)
    for epoch in range(3):
        samples = used(resumed)[60 * epoch : 60 * (epoch + 1)]
        assert sorted(samples) == list(range(60))
    assert resumed.iter == resumed.max_iters


PLAIN = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)


def train_at_one_size(train, stop, **checkpoint):
    """Train without the sampler, 13 iterations an epoch, until it is cut off."""
    size = dict(type="AtSize")
    pipeline = [dict(type="RandomImage", scale=(8, 8)), size, dict(type="CollectToy")]
    dataset = dict(type="ToyDataset", num=50, pipeline=pipeline)
    train(
        "cut",
        stop=stop,
        hooks=[],
        train_dataloader=dict(PLAIN, dataset=dataset),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", **checkpoint)),
    )


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_run_at_one_size_goes_on_at_many(train, by_epoch):
    train_at_one_size(train, 30, by_epoch=by_epoch, interval=2)
    if not by_epoch:
        with pytest.raises(ValueError, match="checkpoint of an epoch's end"):
            train("cut", resume=True)
        return
    resumed = train("cut", resume=True)
    assert resumed.iter == resumed.max_iters
    for epoch in range(2):
        samples = used(resumed)[50 * epoch : 50 * (epoch + 1)]
        assert sorted(samples) == list(range(50))


def test_an_epoch_at_one_size_that_is_not_counted_yet(train):
    """MMEngine saves by iteration before it counts the epoch."""
    train_at_one_size(train, 20, by_epoch=False, interval=13)
    resumed = train("cut", resume=True)
    assert resumed.iter == resumed.max_iters
    samples = used(resumed)
    assert len(samples) == 3 * 50
    for epoch in range(3):
        assert sorted(samples[50 * epoch : 50 * (epoch + 1)]) == list(range(50))


def log_of(runner):
    return "".join(p.read_text() for p in Path(runner.log_dir).glob("*.log"))


def told(runner):
    lines = log_of(runner).splitlines()
    return [line for line in lines if "of the checkpoint count as" in line]


EACH_EPOCH = dict(default_hooks=dict(checkpoint=dict(type="CheckpointHook")))


@pytest.mark.parametrize("old_version", [False, True])
def test_an_extended_training_names_the_setting_that_changed(
    train, tmp_path, old_version
):
    train("run", train_cfg=dict(by_epoch=True, max_epochs=3), **EACH_EPOCH)
    if old_version:
        file = tmp_path / "run" / "epoch_3.pth"
        checkpoint = torch.load(file, weights_only=False)
        del checkpoint["multi_scale_sampler"]["settings"]
        torch.save(checkpoint, file)
    resumed = train(
        "run", resume=True, train_cfg=dict(by_epoch=True, max_epochs=6), **EACH_EPOCH
    )
    assert resumed.iter == resumed.max_iters and resumed.epoch == 6
    (line,) = told(resumed)
    assert "world size" not in line
    if old_version:
        assert "does not record the batch sizes, the sizes and the curriculum" in line
    else:
        assert "another number of iterations now: max_epochs is 6 (was 3). The" in line


def test_another_batch_size_is_named_too(train):
    train("run", stop=5, interval=5)
    resumed = train("run", resume=True, interval=50, loader=dict(batch_size=8))
    (line,) = told(resumed)
    assert "batch_size is 8 (was 4). The learning rate" in line
    assert "max_epochs" not in line


def test_two_hooks_of_the_sampler_are_refused(train):
    hooks = [dict(type="MultiScaleSamplerHook"), dict(type="ResolutionCurriculumHook")]
    with pytest.raises(ValueError, match="has 2 hooks of the multi-scale sampler, Mul"):
        train("run", hooks=hooks)


# Known by the name of its class: that of mmdet's, whose state is in no checkpoint.
DATA_SAMPLERS.register_module(
    name="ForgetfulSampler",
    module=type("CustomSampleSizeSampler", (DefaultSampler,), {}),
)


def test_a_sampler_that_does_not_resume_exactly_is_told(train):
    loader = dict(sampler=dict(type="ForgetfulSampler", shuffle=True))
    cut = train("cut", stop=8, loader=loader)
    assert "is in no checkpoint" not in log_of(cut)
    resumed = train("cut", resume=True, loader=loader)
    assert "CustomSampleSizeSampler draws with a state that is in" in log_of(resumed)


def test_what_each_iteration_was_is_recorded(train):
    runner = train("run", hooks=[dict(type="MultiScaleSamplerHook")])
    names = ("train/height", "train/width", "train/batch_size")
    scalars = [runner.message_hub.get_scalar(name).data[0].tolist() for name in names]
    assert len(scalars[0]) == runner.iter
    expected = [(*size, len(batch)) for size, batch in runner.seen]
    # The pipeline's images are of width times height, all squares here.
    assert [tuple(map(int, each)) for each in zip(*scalars)] == expected


def test_without_a_curriculum_all_sizes_are_drawn_from_the_start(train):
    hooks = [dict(type="MultiScaleSamplerHook")]
    runner = train("run", hooks=hooks, loader=dict(num=200))
    length = len(runner.train_dataloader.batch_sampler.plan(0))
    assert {size[0] for size, _ in runner.seen[:length]} == {4, 6, 8, 10, 12}
    # ``max_iters`` is that of the epochs' real lengths, and the schedule ends with it.
    assert runner.iter == runner.max_iters
    total = runner.train_dataloader.batch_sampler.total_batches(4)
    assert runner.param_schedulers[0].last_step == total - 1


@pytest.mark.parametrize(("rule", "power"), [("none", 0), ("sqrt", 0.5), ("linear", 1)])
def test_the_learning_rate_follows_the_batch_size(train, rule, power):
    hook = dict(type="MultiScaleSamplerHook", lr_scaling=rule)
    lrs = dict(type="NoteLearningRate")
    runner = train("run", hooks=[hook, lrs], param_scheduler=None)
    (noted,) = (h for h in runner.hooks if isinstance(h, NoteLearningRate))
    expected = [0.1 * (len(batch) / 4) ** power for _, batch in runner.seen]
    assert noted.lrs == pytest.approx(expected)
    assert runner.optim_wrapper.get_lr()["lr"] == [0.1]  # restored afterwards


def test_bad_input(train):
    with pytest.raises(ValueError, match="lr_scaling must be one of"):
        MultiScaleSamplerHook(lr_scaling="cube")
    plain = dict(PLAIN, dataset=dict(type="ToyDataset", num=4, pipeline=[]))
    with pytest.raises(ValueError, match="MultiScaleSamplerHook needs the multi-scale"):
        train("run", hooks=[dict(type="MultiScaleSamplerHook")], train_dataloader=plain)


def test_without_the_hook_an_epoch_is_started_again(train):
    """EpochBasedTrainLoop gives the sampler no place within an epoch."""
    whole = train("whole", hooks=[])
    first, second = (len(whole.train_dataloader.batch_sampler.plan(e)) for e in (0, 1))
    assert second > 2
    train("cut", stop=first + 2, interval=first + 2, hooks=[])
    resumed = train("cut", resume=True, hooks=[])
    assert resumed.seen[:second] == whole.seen[first : first + second]
