"""What a training has cost so far."""

import numpy as np
import pytest
from run_files import drawn, train, validation, write_start

from mms_plugin.analysis import read_run, run_cost, run_sizes

SAMPLER = """
train_dataloader = dict(
    batch_size=8,
    batch_sampler=dict(
        type='MultiScaleVariableBatchSampler', base_size=64, sizes=[32, 64],
        weights=[1, 3]),
    dataset=dict(type='MultiScaleDataset', dataset=dict(type='ToyDataset', pipeline=[
        dict(type='MultiScaleTransform',
             transform=dict(type='Resize', keep_ratio={keep_ratio}))])))
"""
PLAIN = """
train_dataloader = dict(batch_size=4, dataset=dict(type='ToyDataset', pipeline=[
    dict(type='Resize', scale=(96, 64), keep_ratio={keep_ratio})]))
"""


def log_of(tmp_path, records, config=None):
    write_start(tmp_path, "20260101_000000", records, config)
    return read_run(tmp_path)


def test_the_sizes_of_the_log_count(tmp_path):
    records = [drawn(1, 4, 4, 8), drawn(2, 4, 4, 8), drawn(3, 8, 4, 4), train(3)]
    log = log_of(tmp_path, records, SAMPLER.format(keep_ratio=False))
    sizes = run_sizes(log)
    assert sizes.source == "log"
    assert sizes.sizes == {(4, 4), (8, 4)}
    cost = run_cost(sizes, 3, 2, {(4, 4): 10.0, (8, 4): 100.0})
    np.testing.assert_allclose(cost.cumulated, [160, 320, 1120])
    assert [cost.after(n) for n in (0, 2, 3, 9)] == [0, 320, 1120, 1120]
    # By default the pixels.
    assert run_cost(sizes, 3).total == 16 * 8 + 16 * 8 + 32 * 4


def test_iterations_that_the_log_does_not_have_cost_nothing(tmp_path):
    """Five iterations, the first two of them in another work dir, on two ranks."""
    records = [drawn(3, 4, 4, 8), drawn(4, 8, 8, 2), drawn(5, 8, 8, 2), train(5)]
    log = log_of(tmp_path, records, SAMPLER.format(keep_ratio=False))
    cost = run_cost(run_sizes(log), 5, [2] * 5)
    np.testing.assert_allclose(cost.cumulated, [0, 0, 256, 512, 768])


def test_images_that_keep_their_ratio(tmp_path):
    """A 4:3 photograph within 64 x 64 has 64 x 48 pixels."""
    records = [drawn(1, 64, 64, 8), train(1)]
    pytest.importorskip("mmcv")
    log = log_of(tmp_path, records, SAMPLER.format(keep_ratio=True))
    assert run_cost(run_sizes(log), 1).total == 8 * 64 * 48


@pytest.mark.parametrize("keep_ratio, pixels", [(False, 64 * 96), (True, 64 * 85)])
def test_a_plain_training_has_the_size_of_its_config(tmp_path, keep_ratio, pixels):
    pytest.importorskip("mmcv")
    config = PLAIN.format(keep_ratio=keep_ratio)
    sizes = run_sizes(log_of(tmp_path, [train(5), validation(1, top1=1.0)], config))
    assert sizes.plan == [(64, 96, 4)] * 5
    assert run_cost(sizes, 5).total == 5 * 4 * pixels


def test_the_batch_size_of_a_batch_sampler(tmp_path):
    """MMEngine uses it, not that of the loader."""
    pytest.importorskip("mmcv")
    config = PLAIN.format(keep_ratio=False)
    config += "train_dataloader['batch_sampler'] = dict(type='Own', batch_size=8)\n"
    assert run_sizes(log_of(tmp_path, [train(2)], config)).plan == [(64, 96, 8)] * 2
    config = SAMPLER.format(keep_ratio=False)
    config += "train_dataloader['batch_sampler']['batch_size'] = 16\n"
    sizes = run_sizes(log_of(tmp_path / "own", [train(2)], config))
    assert [entry for entry, _ in sizes.mixture] == [(32, 32, 64), (64, 64, 16)]


def test_a_sampler_without_the_hook_has_its_shares(tmp_path):
    """32 x 32 in a quarter of the iterations, with 32 images; else 8 of 64 x 64."""
    pytest.importorskip("mmcv")
    log = log_of(tmp_path, [train(100)], SAMPLER.format(keep_ratio=False))
    sizes = run_sizes(log)
    assert sizes.plan == []
    assert sizes.mixture == [((32, 32, 32), 0.25), ((64, 64, 8), 0.75)]
    cost = run_cost(sizes, 100, 1, {(32, 32): 1.0, (64, 64): 2.0})
    assert cost.total == pytest.approx(100 * (0.25 * 32 + 0.75 * 16))
    assert cost.after(50) == pytest.approx(cost.total / 2)


def test_sizes_that_are_not_known(tmp_path):
    with pytest.raises(ValueError, match="no sizes in the log"):
        run_sizes(log_of(tmp_path / "a", [train(1)]))
    config = "train_dataloader = dict(batch_size=4, dataset=dict(type='X'))"
    with pytest.raises(ValueError, match="size of the training images is not known"):
        run_sizes(log_of(tmp_path / "b", [train(1)], config))
