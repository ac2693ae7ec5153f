"""A training that is cut off and resumed, against one that is not."""

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.runner.loops import _InfiniteDataloaderIterator
from resume_toys import AGVM, CURRICULUM, INFINITE, ITERATIONS


def assert_same(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


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


@pytest.mark.parametrize(
    ("changes", "stop"),
    [
        (dict(), 8),
        (dict(ITERATIONS), 11),
    ],
    ids=["epochs", "endless"],
)
def test_at_one_size(train, changes, stop):
    """The sampler without ``sizes``: batches of the base size alone."""
    sampler = dict(sampler=INFINITE) if changes else {}
    changes = dict(
        changes,
        hooks=[dict(type="MultiScaleSamplerHook")],
        loader=dict(sampler, sizes=None),
    )
    whole = train("whole", **changes)
    cut = train("cut", stop=stop, **changes)
    resumed = train("cut", resume=True, **changes)
    start = stop // 3 * 3
    assert {size for size, _ in whole.seen} == {(8, 8)}
    assert cut.seen == whole.seen[:stop]
    assert resumed.seen == whole.seen[start:]
    assert_same(resumed.model, whole.model)
    assert resumed.loaded == [i for _, batch in whole.seen[start:] for i in batch]


def test_averaged_weights(train):
    hooks = [CURRICULUM, dict(type="EMAHook", momentum=0.1)]
    whole = train("whole", hooks=hooks)
    train("cut", stop=8, hooks=hooks)
    resumed = train("cut", resume=True, hooks=hooks)
    averages = []
    for runner in (resumed, whole):
        (hook,) = (hook for hook in runner.hooks if isinstance(hook, EMAHook))
        averages.append(hook.ema_model)
    assert_same(*averages)
    assert_same(resumed.model, whole.model)
    own, average = whole.model.state_dict(), averages[1].module.state_dict()
    assert not torch.equal(own["head.1.weight"], average["head.1.weight"])


@pytest.mark.parametrize("old_is_first", [True, False])
def test_a_constant_curriculum_and_the_hook_without_one_resume_each_other(
    train, old_is_first
):
    hooks = [dict(CURRICULUM, schedule="constant"), dict(type="MultiScaleSamplerHook")]
    before, after = hooks if old_is_first else reversed(hooks)
    whole = train("whole", hooks=[before])
    train("cut", stop=8, hooks=[before])
    resumed = train("cut", resume=True, hooks=[after])
    assert resumed.seen == whole.seen[6:]
    assert_same(resumed.model, whole.model)


def test_without_a_hook_a_loop_by_iteration_is_exact_but_loads_what_it_skips(train):
    settings = dict(ITERATIONS, hooks=[], loader=dict(sampler=INFINITE))
    whole = train("whole", **settings)
    train("cut", stop=8, **settings)
    resumed = train("cut", resume=True, **settings)
    assert resumed.seen == whole.seen[6:]
    # The loop of onedl-mmengine moves the sampler on, and loads none of them.
    moves = hasattr(_InfiniteDataloaderIterator, "skip_iter")
    loaded = whole.seen[6:] if moves else whole.seen
    assert len(resumed.loaded) == sum(len(batch) for _, batch in loaded)


def test_another_runner_trained_in_between_is_not_mistaken(make_runner):
    """Without a hook, the sampler of a second runner starts from its beginning."""
    first = make_runner(train_cfg=dict(by_epoch=True, max_epochs=2))
    second = make_runner(train_cfg=dict(by_epoch=True, max_epochs=2))
    second.train()
    first.train()
    assert first.model.samples == second.model.samples


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


# Checkpoints of the first version, commit 5dc4b37: the sampler's place held neither
# ``iteration`` nor ``settings``.


@pytest.mark.parametrize(
    ("changes", "stop"),
    [
        (dict(), 8),
        (dict(ITERATIONS, train_cfg=dict(by_epoch=False, max_iters=14)), 8),
        (dict(ITERATIONS, loader=dict(sampler=INFINITE)), 11),
    ],
    ids=["epochs", "iterations", "endless"],
)
def test_a_checkpoint_of_the_first_version_resumes_exactly(
    train, tmp_path, changes, stop
):
    whole = train("whole", **dict(changes))
    train("cut", stop=stop, **dict(changes))
    start = stop // 3 * 3
    file = tmp_path / "cut" / f"iter_{start}.pth"
    checkpoint = torch.load(file, weights_only=False)
    state = checkpoint["multi_scale_sampler"]
    assert {"iteration", "settings"} <= state.keys()
    del state["iteration"], state["settings"]
    torch.save(checkpoint, file)
    resumed = train("cut", resume=True, **dict(changes))
    assert resumed.seen == whole.seen[start:]
    assert resumed.iter == whole.iter == resumed.max_iters
    assert_same(resumed.model, whole.model)
