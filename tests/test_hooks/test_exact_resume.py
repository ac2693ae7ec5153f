"""A training that is cut off and resumed, against one that is not."""

import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import toys
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, MODELS, TRANSFORMS

CURRICULUM = dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])
LOADED = "MMS_TEST_LOADED"


@TRANSFORMS.register_module()
class RandomImage:
    """Draws from all three generators, and notes which sample it was asked for."""

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, results):
        with open(os.environ[LOADED], "a") as file:
            file.write(f"{results['i']}\n")
        width, height = self.scale
        image = np.random.rand(height, width, 3).astype(np.float32)
        image += random.random() + torch.rand(1).item()
        return dict(results, img=image)


@TRANSFORMS.register_module()
class AtSize:
    def __call__(self, results):
        return dict(results, target_size=(8, 8))


@MODELS.register_module()
class ModelWithDropout(BaseModel):
    """Draws in its forward pass, keeps running statistics."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        torch.manual_seed(5)
        self.backbone = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        )
        self.head = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 3))

    def forward(self, inputs, i, target_size=None, mode="loss"):
        features = self.backbone(inputs).relu().mean((2, 3))
        return dict(loss=self.head(features).logsumexp(1).mean())


@HOOKS.register_module()
class Seen(Hook):
    """Notes size and samples of every batch that is trained on."""

    def __init__(self):
        self.batches = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        size = tuple(data_batch["inputs"].shape[2:])
        self.batches.append((size, data_batch["i"].tolist()))


@HOOKS.register_module()
class Stop(Hook):
    """Ends a training after an iteration as a failure would."""

    priority = "LOWEST"

    def __init__(self, after):
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.after:
            raise KeyboardInterrupt


@pytest.fixture
def train(make_runner, tmp_path, monkeypatch):
    """Train in a folder; ``stop`` cuts off, ``resume`` goes on from the last file."""

    def run(
        folder, stop=None, resume=False, hooks=(CURRICULUM,), interval=3, **changes
    ):
        hooks = [*(dict(hook) for hook in hooks), dict(type="Seen")]
        if stop:
            hooks.append(dict(type="Stop", after=stop))
        monkeypatch.setenv(LOADED, str(tmp_path / f"{folder}-{resume}.txt"))
        loader = {"num": 50, **changes.pop("loader", {})}
        loader.setdefault("dataset", dataset(loader["num"]))
        settings = dict(
            model=dict(type="ModelWithDropout"),
            work_dir=str(tmp_path / folder),
            train_dataloader=toys.train_dataloader(**loader),
            train_cfg=dict(by_epoch=True, max_epochs=4),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
            param_scheduler=dict(
                type="CosineAnnealingLR",
                T_max=4,
                by_epoch=True,
                convert_to_iter_based=True,
            ),
            default_hooks=dict(
                checkpoint=dict(
                    type="CheckpointHook", by_epoch=False, interval=interval
                )
            ),
            custom_hooks=[dict(hook) for hook in hooks],
            resume=resume,
        )
        settings.update(changes)
        if resume:
            torch.manual_seed(987654)  # another process
        runner = make_runner(**settings)
        if stop:
            with pytest.raises(KeyboardInterrupt):
                runner.train()
        else:
            runner.train()
        file = Path(os.environ[LOADED])
        runner.loaded = [int(line) for line in file.read_text().split()]
        (seen,) = (hook for hook in runner.hooks if isinstance(hook, Seen))
        runner.seen = seen.batches
        return runner

    return run


def dataset(num):
    return dict(
        type="ToyDataset",
        num=num,
        pipeline=[
            dict(type="MultiScaleTransform", transform=dict(type="RandomImage")),
            dict(type="CollectToy"),
        ],
    )


def assert_same(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


ITERATIONS = dict(
    train_cfg=dict(by_epoch=False, max_iters=30, val_interval=100),
    param_scheduler=dict(type="CosineAnnealingLR", T_max=30, by_epoch=False),
)
AGVM = dict(
    type="AGVMOptimWrapper",
    constructor="AGVMOptimWrapperConstructor",
    optimizer=dict(type="AdamW", lr=0.01),
    agvm=dict(interval=4, start_iter=4, modules=["backbone", "head"]),
)


INFINITE = dict(type="InfiniteSampler")


@pytest.mark.parametrize(
    ("changes", "stop"),
    [
        (dict(), 8),
        (dict(hooks=[dict(CURRICULUM, by_epoch=False)], optim_wrapper=AGVM), 17),
        (
            dict(
                hooks=[dict(CURRICULUM, schedule="constant")],
                loader=dict(num_workers=2, persistent_workers=True, drop_last=True),
            ),
            8,
        ),
        (dict(ITERATIONS, train_cfg=dict(by_epoch=False, max_iters=14)), 8),
        (dict(ITERATIONS, optim_wrapper=AGVM, loader=dict(sampler=INFINITE)), 11),
        (dict(ITERATIONS, loader=dict(sampler=INFINITE, num_workers=2)), 26),
    ],
)
def test_resumed_training_equals_the_uninterrupted_one(train, changes, stop):
    whole = train("whole", **dict(changes))
    cut = train("cut", stop=stop, **dict(changes))
    resumed = train("cut", resume=True, **dict(changes))
    start = stop // 3 * 3
    assert cut.seen[:stop] == whole.seen[:stop]
    assert resumed.seen == whole.seen[start:]
    assert resumed.iter == whole.iter == resumed.max_iters
    assert_same(resumed.model, whole.model)
    lrs = [r.optim_wrapper.get_lr()["lr"][0] for r in (resumed, whole)]
    assert lrs[0] == lrs[1]
    # No image that was trained on is loaded (workers load ahead at the end).
    expected = [i for _, batch in whole.seen[start:] for i in batch]
    if not changes.get("loader", {}).get("num_workers"):
        assert resumed.loaded == expected


def test_without_a_curriculum_the_epoch_continues_too(train):
    hooks = [dict(type="MultiScaleSamplerHook")]
    whole = train("whole", hooks=hooks)
    train("cut", hooks=hooks, stop=8)
    resumed = train("cut", hooks=hooks, resume=True)
    assert resumed.seen == whole.seen[6:]
    assert resumed.iter == resumed.max_iters == whole.iter
    assert resumed.loaded == [i for _, batch in resumed.seen for i in batch]


def test_without_a_hook_a_loop_by_iteration_is_exact_but_loads_what_it_skips(train):
    settings = dict(ITERATIONS, hooks=[], loader=dict(sampler=INFINITE))
    whole = train("whole", **settings)
    train("cut", stop=8, **settings)
    resumed = train("cut", resume=True, **settings)
    assert resumed.seen == whole.seen[6:]
    assert len(resumed.loaded) == sum(len(batch) for _, batch in whole.seen)


def test_another_runner_trained_in_between_is_not_mistaken(make_runner):
    """Without a hook, the sampler of a second runner starts from its beginning."""
    first = make_runner(train_cfg=dict(by_epoch=True, max_epochs=2))
    second = make_runner(train_cfg=dict(by_epoch=True, max_epochs=2))
    second.train()
    first.train()
    assert first.model.samples == second.model.samples


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


def test_checkpoint_of_the_last_iteration_of_an_epoch(train):
    whole = train("whole")
    length = len(whole.train_dataloader.batch_sampler.plan(0))
    train("cut", stop=length, interval=length)
    resumed = train("cut", resume=True, interval=length)
    assert resumed.seen == whole.seen[length:]
    assert_same(resumed.model, whole.model)


def test_resumed_twice_within_an_epoch(train):
    whole = train("whole", interval=2)
    train("cut", stop=5, interval=2)
    train("cut", stop=7, resume=True, interval=2)
    resumed = train("cut", resume=True, interval=2)
    assert resumed.seen == whole.seen[6:]
    assert_same(resumed.model, whole.model)


def test_weights_that_are_loaded_begin_a_training_anew(train, tmp_path):
    whole = train("whole")
    train("cut", stop=8)
    loaded = train("loaded", load_from=str(tmp_path / "cut" / "iter_6.pth"))
    assert loaded.seen == whole.seen


def used(runner):
    return [i for _, batch in runner.seen for i in batch]


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
    assert resumed.optim_wrapper.get_lr()["lr"][0] == pytest.approx(last, rel=0.1)


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


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_run_at_one_size_goes_on_at_many(make_runner, train, tmp_path, by_epoch):
    image = dict(type="RandomImage", scale=(8, 8))
    size = dict(type="AtSize")
    dataset = dict(
        type="ToyDataset", num=50, pipeline=[image, size, dict(type="CollectToy")]
    )
    checkpoint = dict(type="CheckpointHook", by_epoch=by_epoch, interval=2)
    train(
        "cut",
        stop=30,
        hooks=[],
        train_dataloader=dict(PLAIN, dataset=dataset),
        default_hooks=dict(checkpoint=checkpoint),
    )
    if not by_epoch:
        with pytest.raises(ValueError, match="checkpoint of an epoch's end"):
            train("cut", resume=True)
        return
    resumed = train("cut", resume=True)
    assert resumed.iter == resumed.max_iters
    for epoch in range(2):
        samples = used(resumed)[50 * epoch : 50 * (epoch + 1)]
        assert sorted(samples) == list(range(50))


def told(runner):
    text = "".join(p.read_text() for p in Path(runner.log_dir).glob("*.log"))
    return [line for line in text.splitlines() if "of the checkpoint count as" in line]


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
