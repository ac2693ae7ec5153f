"""What a training left in its work dir."""

from pathlib import Path

import pytest
import toys
from mmengine.hooks import Hook
from run_files import drawn, train, validation, write_start

from mms_plugin.analysis import read_run
from mms_plugin.analysis.run_cost import run_cost, run_sizes

CRASH = 32


class Crash(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == CRASH:
            raise KeyboardInterrupt


def test_a_crashed_and_resumed_training_is_joined(make_runner, tmp_path):
    settings = dict(
        custom_hooks=[dict(type="ResolutionCurriculumHook", start_sizes=[4, 6])],
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=5),
            checkpoint=dict(type="CheckpointHook", interval=1),
        ),
        log_level="INFO",
        visualizer=dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]),
    )
    runner = make_runner(**settings)
    runner.register_hook(Crash())
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    # The two starts lie within one second.
    first = Path(runner.log_dir)
    first.rename(first.with_name("20200101_000000"))
    crashed = read_run(tmp_path / "run")
    assert crashed.starts == 1
    # Its size was logged, and then it crashed.
    assert len(crashed.plan) == CRASH + 1

    runner = make_runner(resume=True, **settings)
    runner.train()
    log = read_run(tmp_path / "run")
    sampler = runner.train_dataloader.batch_sampler
    assert log.plan == [entry for epoch in range(5) for entry in sampler.plan(epoch)]
    assert (log.starts, log.epochs, log.world_size) == (2, 5, 1)
    assert log.iterations == sampler.total_batches(5)
    steps = [step for step, _ in log.series("loss")]
    assert steps == sorted(set(steps))
    assert log.learning_rates == ["lr"]
    assert log.losses == ["loss"]
    assert crashed.plan == log.plan[: CRASH + 1]


def test_a_training_resumed_with_another_batch_size_is_joined(make_runner, tmp_path):
    def start(epochs, batch_size, resume):
        runner = make_runner(
            train_dataloader=toys.train_dataloader(80, batch_size, sizes=[8]),
            train_cfg=dict(by_epoch=True, max_epochs=epochs),
            custom_hooks=[dict(type="MultiScaleSamplerHook")],
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=5),
                checkpoint=dict(type="CheckpointHook", interval=1),
            ),
            log_level="INFO",
            visualizer=dict(
                type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]
            ),
            resume=resume,
        )
        runner.train()
        return Path(runner.log_dir)

    # The starts may lie within one second.
    first = start(3, 4, False)
    first.rename(first.with_name("20200101_000000"))
    start(5, 8, True)
    log = read_run(tmp_path / "run")
    assert log.plan == [(8, 8, 4)] * 60 + [(8, 8, 8)] * 20
    assert (log.starts, log.epochs, log.iterations) == (2, 5, 80)


@pytest.mark.parametrize("together", [True, False])
def test_what_was_redone_counts_once(tmp_path, together):
    write_start(
        tmp_path,
        "20260101_000000",
        [drawn(s, 8, 8, 4, 1) for s in (1, 2)]
        + [train(2, 1), validation(1, top1=10.0)]
        + [drawn(s, 8, 8, 4, 2) for s in (3, 4)]
        + [train(4, 2), validation(2, top1=20.0), drawn(5, 8, 8, 4, 3)],
        together=together,
    )
    write_start(
        tmp_path,
        "20260102_000000",
        [drawn(s, 4, 6, 9, 2) for s in (3, 4)]
        + [train(4, 2), validation(2, top1=30.0)],
        config="resume = True",
        together=together,
    )
    log = read_run(tmp_path)
    assert log.plan == [(8, 8, 4)] * 2 + [(4, 6, 9)] * 2
    assert [tuple(one) for one in log.validations] == [
        (1.0, 2, {"top1": 10.0}),
        (2.0, 4, {"top1": 30.0}),
    ]
    assert [step for step, _ in log.series("lr")] == [2, 4]
    assert log.iterations == 4


@pytest.mark.parametrize("together", [True, False])
def test_a_start_that_counts_its_checkpoint_in_another_batch_size(tmp_path, together):
    def epochs(numbers, length, batch_size, first=0):
        for number, epoch in enumerate(numbers):
            steps = [first + number * length + i + 1 for i in range(length)]
            yield from (drawn(step, 8, 8, batch_size, epoch) for step in steps)
            yield train(steps[-1], epoch)
            yield validation(epoch, top1=10.0 * epoch)

    machine = "GPU number: {}"
    write_start(
        tmp_path, "20260101_000000", list(epochs((1, 2, 3), 20, 4)),
        text=machine.format(1), together=together,
    )  # fmt: skip
    # Continued after epoch 2, whose 40 iterations count as 10 on two ranks.
    again = {"train/resumed_at": 40, "step": 10}
    write_start(
        tmp_path, "20260102_000000", [again, *epochs((3, 4), 5, 8, first=10)],
        config="resume = True", text=machine.format(2), together=together,
    )  # fmt: skip
    # Continued once more, as it was.
    write_start(
        tmp_path, "20260103_000000", list(epochs((5,), 5, 8, first=20)),
        config="resume = True", text=machine.format(2), together=together,
    )  # fmt: skip
    log = read_run(tmp_path)
    assert log.plan == [(8, 8, 4)] * 40 + [(8, 8, 8)] * 15
    assert log.world_sizes == [1] * 40 + [2] * 15
    assert [(v.epoch, v.iteration) for v in log.validations] == [
        (1, 20), (2, 40), (3, 45), (4, 50), (5, 55),
    ]  # fmt: skip
    cost = run_cost(run_sizes(log), log.iterations, log.world_sizes)
    assert cost.after(40) == 64 * 4 * 40
    assert cost.total == 64 * (4 * 40 + 2 * 8 * 15)


def test_epochs_of_unequal_length(tmp_path):
    """Validated at their ends, which the logger passes over."""
    records, step = [], 0
    for epoch, length in ((1, 3), (2, 7), (3, 5)):
        for step in range(step + 1, step + length + 1):  # noqa: B020
            records.append(drawn(step, 8, 8, 4, epoch))
        records.append(validation(epoch, top1=float(epoch)))
    records.append(train(10, 2))
    write_start(tmp_path, "20260101_000000", records)
    log = read_run(tmp_path)
    assert [(v.epoch, v.iteration) for v in log.validations] == [
        (1, 3),
        (2, 10),
        (3, 15),
    ]
    # A start that was killed before the logger's first line.
    more = [drawn(s, 4, 4, 16, 4) for s in (16, 17)]
    folder = write_start(tmp_path, "20260102_000000", more, config="resume = True")
    (folder / "scalars.json").unlink()
    log = read_run(tmp_path)
    assert (log.starts, log.iterations, log.plan[-3:]) == (
        2, 17, [(8, 8, 4), (4, 4, 16), (4, 4, 16)],
    )  # fmt: skip


def test_more_validations_than_logged_iterations(tmp_path):
    records = []
    for step in range(10, 61, 10):
        if step in (30, 50):  # the logger's interval is 25
            records.append(train(25 if step == 30 else 50))
        records.append(validation(0, top1=float(step)))
    config = (
        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=60, val_interval=10)"
    )
    write_start(tmp_path, "20260101_000000", records, config=config)
    log = read_run(tmp_path)
    assert [v.iteration for v in log.validations] == [10, 20, 30, 40, 50, 60]
    assert log.iterations == 60


def test_validations_at_intervals_that_change(tmp_path):
    """MMEngine's rule: every 20 from iteration 30 on, every 5 from 60 on, and at 73."""
    expected = [40, 60, 65, 70, 73]
    records = []
    for number, step in enumerate(expected):
        records.append(train(step - step % 10))  # the logger's interval is 10
        records.append(validation(0, top1=float(number)))
    config = (
        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=73, val_begin=30, "
        "val_interval=20, dynamic_intervals=[(60, 5)])"
    )
    write_start(tmp_path, "20260101_000000", records, config=config)
    assert [v.iteration for v in read_run(tmp_path).validations] == expected


def test_a_start_that_did_not_resume_stands_alone(tmp_path):
    write_start(tmp_path, "20260101_000000", [train(s, 1) for s in (10, 20, 30)])
    later = [train(s, 1) for s in (20, 40)]
    write_start(tmp_path, "20260102_000000", later, config="resume = False")
    log = read_run(tmp_path)
    assert [step for step, _ in log.series("loss")] == [20, 40]
    assert log.starts == 1


def test_a_validation_alone_is_no_start(tmp_path):
    write_start(tmp_path, "20260101_000000", [train(3, 1), validation(1, top1=1.0)])
    write_start(tmp_path, "20260102_000000", [validation(0, top1=9.0)])
    log = read_run(tmp_path)
    assert log.starts == 1
    assert [one.values for one in log.validations] == [{"top1": 1.0}]


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    folder = write_start(tmp_path, "20260101_000000", [train(1, 1), train(2, 1)])
    with (folder / "scalars.json").open("a") as stream:
        stream.write('{"lr": 0.1, "loss": 0.')
    log = read_run(tmp_path)
    assert (log.iterations, log.unreadable_lines) == (2, 1)


def test_a_lost_line_is_as_the_one_before(tmp_path):
    records = [drawn(1, 4, 4, 8), drawn(3, 8, 8, 2), train(4)]
    write_start(tmp_path, "20260101_000000", records)
    assert read_run(tmp_path).plan == [(4, 4, 8), (4, 4, 8), (8, 8, 2), (8, 8, 2)]


def test_what_ran_in_another_work_dir_is_missing(tmp_path):
    records = [drawn(3, 4, 4, 8), drawn(5, 8, 8, 2), train(5)]
    write_start(tmp_path, "20260101_000000", records, config="resume = True")
    log = read_run(tmp_path)
    assert (log.missing, log.iterations) == (2, 5)
    assert log.plan == [(4, 4, 8), (4, 4, 8), (8, 8, 2)]


def test_epochs_whose_ends_are_not_logged(tmp_path):
    """67 iterations an epoch, every 20th logged, as LoggerHook does by default."""
    records = []
    for epoch in (1, 2, 3):
        start = (epoch - 1) * 67
        records += [train(start + done, epoch) for done in (20, 40, 60)]
        records.append(validation(epoch, top1=float(epoch)))
    config = "default_hooks = dict(logger=dict(interval=20))"
    write_start(tmp_path, "20260101_000000", records, config)
    log = read_run(tmp_path)
    assert [one.iteration for one in log.validations] == [67, 134, 201]
    assert [one.epoch for one in log.validations] == [1, 2, 3]
    assert (log.iterations, log.epochs) == (201, 3)


@pytest.mark.parametrize("epoch", [None, float("nan"), "2"])
def test_an_epoch_that_is_no_number_is_left_out(tmp_path, epoch):
    broken = dict(train(10), epoch=epoch)
    records = [train(5, 1), broken, validation(1, top1=1.0), train(15, 2)]
    write_start(tmp_path, "20260101_000000", records)
    log = read_run(tmp_path)
    assert [step for step, _ in log.series("lr")] == [5, 10, 15]
    assert (log.epochs, log.iterations) == (2, 15)


def place(epoch, iteration, length):
    return f"INFO - Epoch(train)  [{epoch}][{iteration:2}/{length}]  lr: 1.0e-01\n"


@pytest.mark.parametrize("epochs, says", [(1, "Epoch(val)"), (2, "Saving checkpoint")])
def test_the_last_epoch_is_done_where_the_log_says_so(tmp_path, epochs, says):
    """16 iterations an epoch, the 10th logged: with a validation, or a checkpoint."""
    records, text = [], ""
    for epoch in range(1, epochs + 1):
        records.append(train(16 * (epoch - 1) + 10, epoch))
        text += place(epoch, 10, 16)
    write_start(tmp_path / "running", "20260101_000000", records, text=text)
    assert read_run(tmp_path / "running").iterations == 16 * (epochs - 1) + 10
    if says == "Epoch(val)":
        records.append(validation(epochs, top1=1.0))
    else:
        text += f"INFO - Saving checkpoint at {epochs} epochs\n"
    write_start(tmp_path / "done", "20260101_000000", records, text=text)
    log = read_run(tmp_path / "done")
    assert log.iterations == 16 * epochs
    assert [one.iteration for one in log.validations] == [16] * (2 - epochs)


def test_epochs_of_another_length_after_a_resume(tmp_path):
    """16 iterations an epoch, then 12 with a larger batch; the 10th is logged."""
    write_start(
        tmp_path, "20260101_000000",
        [train(10, 1), validation(1, top1=1.0), train(26, 2), validation(2, top1=2.0)],
        text=place(1, 10, 16) + place(2, 10, 16),
    )  # fmt: skip
    write_start(
        tmp_path, "20260102_000000", [train(42, 3), validation(3, top1=3.0)],
        config="resume = True", text=place(3, 10, 12),
    )  # fmt: skip
    log = read_run(tmp_path)
    assert [one.iteration for one in log.validations] == [16, 32, 44]
    assert log.iterations == 44


def test_a_checkpoint_after_the_last_logged_iteration(tmp_path):
    config = "train_cfg = dict(type='IterBasedTrainLoop', max_iters=45)"
    text = "INFO - Iter(train) [40/45]\nINFO - Saving checkpoint at 45 iterations\n"
    write_start(tmp_path, "20260101_000000", [train(40)], config=config, text=text)
    assert read_run(tmp_path).iterations == 45


@pytest.mark.parametrize("by_epoch", [True, False])
def test_a_training_by_iterations(tmp_path, by_epoch):
    """With ``log_metric_by_epoch=True``, the default, MMEngine notes epoch 0."""
    config = (
        "train_cfg = dict(type='IterBasedTrainLoop', max_iters=60, val_interval=25)\n"
        f"default_hooks = dict(logger=dict(log_metric_by_epoch={by_epoch}))"
    )
    records = [
        *(train(step) for step in (10, 20)),
        validation(0 if by_epoch else 25, top1=1.0),
        *(train(step) for step in (30, 40, 50)),
        validation(0 if by_epoch else 50, top1=2.0),
    ]
    write_start(tmp_path, "20260101_000000", records, config)
    log = read_run(tmp_path)
    assert not log.by_epoch
    assert log.epochs is None
    assert [one[:2] for one in log.validations] == [(None, 25), (None, 50)]


def test_a_folder_of_one_start_and_its_ranks(tmp_path):
    text = "Runtime environment:\n    Distributed training: True\n    GPU number: 8\n"
    write_start(tmp_path, "20260101_000000", [train(1)], text=text)
    log = read_run(tmp_path / "20260101_000000")
    assert (log.iterations, log.world_size) == (1, 8)


def test_a_config_that_does_not_load(tmp_path):
    write_start(tmp_path, "20260101_000000", [train(1)], config="import nowhere_x\n1/0")
    log = read_run(tmp_path)
    assert log.config is None
    assert "config.py does not load" in log.config_error


def test_no_log(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_run(tmp_path / "none")
    with pytest.raises(ValueError, match="is empty"):
        read_run(tmp_path)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match="is not a folder"):
        read_run(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="no .*scalars.json"):
        read_run(tmp_path)
    events = tmp_path / "20260101_000000" / "vis_data"
    events.mkdir(parents=True)
    (events / "events.out.tfevents.1.host").write_text("")
    with pytest.raises(ValueError, match="TensorBoard.*LocalVisBackend"):
        read_run(tmp_path)
    (events / "scalars.json").write_text("")
    with pytest.raises(ValueError, match="no record of a training yet.*empty"):
        read_run(tmp_path)
