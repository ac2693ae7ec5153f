"""Settings of hooks that a training of this length never meets: one warning each."""

import re
from pathlib import Path

import pytest
from toys import train_dataloader

CURRICULUM = dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])
CLIPPED = dict(optimizer=dict(type="SGD", lr=0.1), clip_grad=dict(max_norm=1.0))
BEYOND = dict(type="ClipGradRangeHook", begin=500)
CHECKPOINTS = dict(checkpoint=dict(type="CheckpointHook", interval=1))


def warnings_of(runner):
    """The lines of the log that warn of something that has no effect."""
    text = "".join(p.read_text() for p in Path(runner.log_dir).glob("*.log"))
    lines = [line for line in text.splitlines() if "WARNING" in line]
    return [m for m in lines if re.search("The curriculum|ClipGradRangeHook", m)]


@pytest.mark.parametrize(
    "changes",
    [
        dict(train_cfg=dict(by_epoch=True, max_epochs=2)),
        dict(
            train_cfg=dict(by_epoch=False, max_iters=20),
            train_dataloader=train_dataloader(sampler=dict(type="InfiniteSampler")),
        ),
    ],
    ids=["epochs", "iterations"],
)
def test_clipping_beyond_the_end_is_told_in_both_loops(make_runner, changes):
    runner = make_runner(custom_hooks=[BEYOND], optim_wrapper=CLIPPED, **changes)
    runner.train()
    (line,) = warnings_of(runner)
    assert (
        f"begin=500 lies beyond the end of the training, which has {runner.iter}"
        in (line)
    )


def test_three_epochs_with_the_default_end_never_draw_the_largest_size(make_runner):
    runner = make_runner(
        custom_hooks=[CURRICULUM], train_cfg=dict(by_epoch=True, max_epochs=3)
    )
    runner.train()
    assert max(h for _, _, h, _ in runner.model.shapes) < 12
    (line,) = warnings_of(runner)
    assert "never draws 12x12: the last of 3 epochs begins after 0.667" in line
    assert "begin=0, end=0.8). Set end to at most 0.66 or by_epoch=False" in line
    # What it says to set is enough, and says nothing more.
    for change in (dict(end=0.66), dict(by_epoch=False)):
        changed = make_runner(
            custom_hooks=[dict(CURRICULUM, **change)],
            train_cfg=dict(by_epoch=True, max_epochs=3),
            work_dir=f"{runner.work_dir}-{len(change)}-{list(change)[0]}",
        )
        changed.train()
        assert warnings_of(changed) == []
        assert max(h for _, _, h, _ in changed.model.shapes) == 12


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(begin=0.9, end=0.95), "never draws 8x8, 10x10, 12x12.*begin=0.9"),
        (dict(begin=0.45, end=0.55), "grows at once: none of the 5 epochs begins"),
        (dict(end=0.0), "never draws from its start sizes only.*end=0.*end above 0"),
        (dict(start_sizes=[4, 6, 8, 10, 12]), "nothing to grow.*10x10, 12x12"),
        (dict(schedule="constant"), "never draws start_sizes=4x4, 6x6.*'constant'"),
        (
            dict(schedule="step", milestones=[0.3, 0.9]),
            r"never draws 10x10, 12x12.*=\[0.3, 0.9\].*the last of milestones to",
        ),
        (
            dict(schedule="step", milestones=[0.45, 0.55]),
            "grows at once.*milestones further apart",
        ),
        (dict(by_epoch=False, end=1.0), "never draws 12x12.*end to less than 1"),
    ],
)
def test_other_curricula_without_effect(make_runner, change, words):
    runner = make_runner(custom_hooks=[{**CURRICULUM, **change}])
    runner.train()
    (line,) = warnings_of(runner)
    assert re.search(words, line), line


@pytest.mark.parametrize(
    "hook",
    [
        CURRICULUM,
        dict(CURRICULUM, schedule="cosine", begin=0.1, end=0.8),
        dict(CURRICULUM, schedule="step", milestones=[0.5]),
        dict(CURRICULUM, begin=0.5, end=0.5),
        dict(CURRICULUM, by_epoch=False),
        dict(type="ResolutionCurriculumHook", schedule="constant"),
    ],
)
def test_a_curriculum_that_does_what_it_says_is_silent(make_runner, hook):
    runner = make_runner(custom_hooks=[hook])
    runner.train()
    assert warnings_of(runner) == []


@pytest.mark.parametrize("sampler", ["InfiniteSampler", "DefaultSampler"])
def test_a_loop_by_iteration(make_runner, tmp_path, sampler):
    """By epoch, the last epoch begins before ``end``; else every iteration counts."""
    for end, told in ((0.8, sampler == "DefaultSampler"), (1.0, True)):
        runner = make_runner(
            custom_hooks=[dict(CURRICULUM, end=end)],
            train_dataloader=train_dataloader(
                40, sampler=dict(type=sampler, shuffle=True)
            ),
            train_cfg=dict(by_epoch=False, max_iters=18),
            work_dir=str(tmp_path / str(end)),
        )
        runner.train()
        lines = warnings_of(runner)
        assert len(lines) == told
        assert all("never draws" in line and "12x12" in line for line in lines)


def test_a_resumed_training(make_runner, tmp_path):
    """It warns while something is left to be trained, and not of what has passed."""
    passed = dict(type="ClipGradRangeHook", begin=1, end=3)
    options = dict(
        optim_wrapper=CLIPPED,
        default_hooks=CHECKPOINTS,
        train_cfg=dict(by_epoch=True, max_epochs=3),
    )
    whole = make_runner(custom_hooks=[CURRICULUM, passed], **options)
    whole.train()
    assert len(warnings_of(whole)) == 1

    def resumed(epoch, **changes):
        # A log of its own: runs that start within a second share a name.
        folder = f"from_{epoch}{'_extended' if changes else ''}"
        runner = make_runner(
            **{**options, "custom_hooks": [CURRICULUM, passed], **changes},
            work_dir=str(tmp_path / folder),
            load_from=str(Path(whole.work_dir) / f"epoch_{epoch}.pth"),
            resume=True,
        )
        runner.train()
        return warnings_of(runner)

    assert len(resumed(2)) == 1  # end=0.66 would still let the last epoch draw it
    assert resumed(3) == []  # it has ended
    # Extended, the curriculum comes to its end.
    assert resumed(3, train_cfg=dict(by_epoch=True, max_epochs=6)) == []
