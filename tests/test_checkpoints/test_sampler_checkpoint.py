"""The sampler's place goes into a checkpoint and comes back from it."""

import copy

import pytest
import toys
from mmengine.runner.loops import _InfiniteDataloaderIterator

from mms_plugin.checkpoints.resumed_iterator import ResumedIterator
from mms_plugin.checkpoints.sampler_checkpoint import SAMPLER_STATE, SamplerCheckpoint


@pytest.fixture
def loop_at(make_runner, tmp_path):
    """Build a train loop that stands at an iteration, as after loading a checkpoint."""

    def build(iteration, by_epoch=True, epoch=0, **loader):
        length = dict(by_epoch=True, max_epochs=3)
        if not by_epoch:
            length = dict(by_epoch=False, max_iters=30)
        runner = make_runner(
            train_dataloader=toys.train_dataloader(num=50, **loader),
            train_cfg=length,
            work_dir=str(tmp_path / "run"),
        )
        loop = runner.build_train_loop(runner.cfg.train_cfg)
        loop._iter, loop._epoch = iteration, epoch
        return loop

    return build


def sampler_of(loop):
    return loop.dataloader.batch_sampler


def saved(loop):
    checkpoint = dict(meta=dict(iter=loop.iter, epoch=loop.epoch))
    SamplerCheckpoint().save(checkpoint, loop, sampler_of(loop))
    return checkpoint


def resumed(loop, checkpoint):
    place = SamplerCheckpoint()
    place.remember(checkpoint)
    return place.resume(loop, sampler_of(loop))


def sizes_and_indices(loop, epoch):
    sampler = sampler_of(loop)
    sampler.set_epoch(epoch)
    return [[(int(i), i.size) for i in batch] for batch in sampler]


def test_an_epoch_continues_at_its_place(loop_at):
    whole = loop_at(0)
    expected = sizes_and_indices(whole, 1)
    begun = sampler_of(whole).iterations_before(1)
    checkpoint = saved(loop_at(begun + 2, epoch=1))
    loop = loop_at(begun + 2, epoch=1)
    assert resumed(loop, checkpoint) is None
    assert sizes_and_indices(loop, 1) == expected[2:]


def test_a_loop_that_counts_iterations_skips_without_loading(loop_at):
    checkpoint = saved(loop_at(7, by_epoch=False))
    loop = loop_at(7, by_epoch=False)
    plain = loop.dataloader_iterator
    assert isinstance(plain, _InfiniteDataloaderIterator)
    assert resumed(loop, checkpoint) is None
    assert isinstance(loop.dataloader_iterator, ResumedIterator)
    assert [next(loop.dataloader_iterator) for _ in range(7)] == [None] * 7
    expected = sampler_of(loop_at(0, by_epoch=False)).plan_iterations(7, 9)
    for height, width, images in expected:
        batch = next(loop.dataloader_iterator)["inputs"]
        assert tuple(batch.shape) == (images, 3, height, width)


def test_a_training_that_is_not_resumed_begins_at_the_beginning(loop_at):
    """As with ``load_from`` only, where the checkpoint is loaded for its weights."""
    expected = sizes_and_indices(loop_at(0), 0)
    loop = loop_at(0)
    assert resumed(loop, saved(loop_at(3))) is None
    assert sizes_and_indices(loop, 0) == expected


def test_a_place_serves_one_training_only(loop_at):
    place, loop = SamplerCheckpoint(), loop_at(2)
    place.remember(saved(loop_at(2)))
    assert place.resume(loop, sampler_of(loop)) is None
    again = loop_at(0)
    assert place.resume(again, sampler_of(again)) is None
    assert sizes_and_indices(again, 0) == sizes_and_indices(loop_at(0), 0)


@pytest.mark.parametrize("form", ["current", "first version", "without the hook"])
def test_why_iterations_are_counted_anew(loop_at, form):
    """With twice the batch size the epochs are shorter."""
    old = loop_at(0)
    ends = sampler_of(old).iterations_before(1)
    assert ends != sampler_of(loop_at(0, batch_size=8)).iterations_before(1)
    checkpoint = copy.deepcopy(saved(loop_at(ends, epoch=1)))
    if form == "first version":
        del (
            checkpoint[SAMPLER_STATE]["settings"],
            checkpoint[SAMPLER_STATE]["iteration"],
        )
    elif form == "without the hook":
        # All epochs of such a training have the same length.
        info = dict(max_iters=3 * ends, max_epochs=3)
        checkpoint = dict(message_hub=dict(runtime_info=info))
    loop = loop_at(ends, epoch=1, batch_size=8)
    recount = resumed(loop, checkpoint)
    assert recount.done == sampler_of(loop).iterations_before(1) != ends
    assert {
        "current": "batch_size is 8 (was 4)",
        "first version": "does not record the batch sizes",
        "without the hook": "saved without ResolutionCurriculumHook or",
    }[form] in recount.reason


def test_a_checkpoint_of_a_fixed_size_run_within_an_epoch_is_refused(loop_at):
    info = dict(max_iters=39, max_epochs=3)
    for iteration, epoch in ((2, 0), (5, 0), (12, 0), (30, 1)):
        loop = loop_at(iteration, epoch=epoch)
        with pytest.raises(ValueError, match="checkpoint of an epoch's end"):
            resumed(loop, dict(message_hub=dict(runtime_info=info)))


def test_the_end_of_a_fixed_size_epoch_that_is_not_counted_yet(loop_at):
    """MMEngine saves by iteration before it counts the epoch."""
    info = dict(max_iters=39, max_epochs=3)
    loop = loop_at(13, epoch=0)
    recount = resumed(loop, dict(message_hub=dict(runtime_info=info)))
    assert recount.done == sampler_of(loop).iterations_before(1) != 13
    assert sizes_and_indices(loop, 0) == []
    assert sizes_and_indices(loop, 1) == sizes_and_indices(loop_at(0), 1)


def test_epochs_cannot_continue_a_later_pass_of_a_training_by_iterations(loop_at):
    done = sampler_of(loop_at(0)).iterations_before(1) + 1
    checkpoint = saved(loop_at(done, by_epoch=False))
    with pytest.raises(ValueError, match="train_cfg must count iterations.*load_from"):
        resumed(loop_at(done), checkpoint)
