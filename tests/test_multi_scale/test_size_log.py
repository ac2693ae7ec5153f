"""Sizes in the log of a training."""

import logging
import os

from mms_plugin.multi_scale.size_log import SIZES_FILE, SizeLog


def test_sizes_are_logged_when_they_change(make_runner):
    runner = make_runner(log_level="INFO")
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    runner.logger.addHandler(handler)
    log = SizeLog()
    log.sizes(runner, ((4, 4),), "Epoch 1")
    log.sizes(runner, ((4, 4),), "Epoch 2")
    log.sizes(runner, ((4, 4), (6, 8)), "Epoch 3")
    assert lines == [
        "Epoch 1: drawing from 1 sizes: 4x4",
        "Epoch 3: drawing from 2 sizes: 4x4, 6x8",
    ]


def test_each_batch_is_recorded(make_runner):
    runner = make_runner()
    log = SizeLog()
    for batch in ((4, 6, 10), (8, 8, 3)):
        log.batch(runner, batch)
    for name, values in (
        ("height", [4, 8]),
        ("width", [6, 8]),
        ("batch_size", [10, 3]),
    ):
        history, _ = runner.message_hub.get_scalar(f"train/{name}").data
        assert history.tolist() == values


def test_a_full_disk_ends_no_training(make_runner, caplog):
    runner = make_runner(custom_hooks=[dict(type="MultiScaleSamplerHook")])
    runner.logger.addHandler(caplog.handler)
    path = os.path.join(runner.log_dir, SIZES_FILE)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.symlink("/dev/full", path)
    runner.train()
    assert runner.iter == runner.max_iters
    said = f"sizes are no longer written to {path}: [Errno 28]"
    assert caplog.text.count(said) == 1
