import numpy as np
import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mms_plugin import MultiScaleVariableBatchSampler
from mms_plugin.multi_scale import ResolutionCurriculum
from mms_plugin.multi_scale.dry_run_plan import (
    DryRunPoint,
    chosen_images,
    points_of_training,
    recompilations,
    too_large,
)


def sampler(num=1000, endless=False, curriculum=None, lengths=None, **kwargs):
    inner = (InfiniteSampler if endless else DefaultSampler)(range(num), seed=0)
    built = MultiScaleVariableBatchSampler(
        inner, 8, 64, kwargs.pop("sizes", [32, 48, 64, 96]), **kwargs
    )
    if curriculum is not None:
        built.set_curriculum(ResolutionCurriculum(**curriculum), **lengths)
    return built


def sides(points):
    return [point.size[0] for point in points]


def test_without_a_curriculum_all_sizes_by_pixels():
    # 8 images of 64x64 have 32,768 pixels: 32 of 32, 14 of 48 (32,256), 3 of 96
    # (27,648).
    assert points_of_training(sampler()) == [
        ((32, 32), 32),
        ((64, 64), 8),
        ((48, 48), 14),
        ((96, 96), 3),
    ]


def test_the_table_and_the_cost_model_set_the_order():
    table = points_of_training(sampler(batch_sizes=[1, 1, 1, 40]))
    assert table == [((96, 96), 40), ((64, 64), 1), ((48, 48), 1), ((32, 32), 1)]
    # An image costs 1,000 beside its pixels; with 8 * 5,096 to spend: 20 of 32x32
    # (40,480), 12 of 48x48 (39,648), 8 of 64x64 (40,768), 3 of 96x96 (30,648).
    model = points_of_training(sampler(cost_model=dict(beta=1000.0)))
    assert model == [((64, 64), 8), ((32, 32), 20), ((48, 48), 12), ((96, 96), 3)]


def test_what_weights_leave_out_is_left_out():
    assert sides(points_of_training(sampler(weights=[1, 0, 0, 1]))) == [32, 96]


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("by_epoch", [False, True])
def test_of_a_curriculum_what_is_drawn(endless, by_epoch):
    """By brute force: every size of every iteration of the training."""
    lengths = dict(max_iters=300) if endless else dict(max_epochs=6)
    built = sampler(
        endless=endless,
        curriculum=dict(
            start_sizes=[40], end=0.5, end_sizes=[64, (48, 80)], by_epoch=by_epoch
        ),
        lengths=lengths,
    )
    stop = 300 if endless else built.total_batches(6)
    drawn = {batch[:2] for batch in built.plan_iterations(0, stop)}
    points = points_of_training(built)
    assert {point.size for point in points} == drawn
    assert {(40, 40), (48, 80)} < drawn and (96, 96) not in drawn


def test_with_epochs_counted_in_iterations():
    built = sampler(curriculum=dict(start_sizes=[32]), lengths=dict(max_iters=400))
    drawn = {batch[:2] for batch in built.plan_iterations(0, 400)}
    assert {point.size for point in points_of_training(built)} == drawn


def test_no_more_images_than_a_rank_has():
    points = points_of_training(sampler(num=10))
    assert [p.batch_size for p in points] == [8, 3, 10, 10]


def test_images_at_equal_distances():
    assert chosen_images(range(100), 4) == [0, 25, 50, 75]
    assert chosen_images([3, 5, 7], 5) == [3, 5, 7, 3, 5]
    assert all(type(i) is int for i in chosen_images(np.arange(9), 4))


def test_images_with_the_most_instances():
    instances = [1, 9, 2, 9, 0, 7]
    assert chosen_images(range(6), 3, instances) == [1, 3, 5]
    assert chosen_images([0, 2, 4], 2, instances) == [2, 0]


def test_shapes_that_are_compiled():
    points = [DryRunPoint((8, 8), 4), DryRunPoint((4, 4), 16)]
    assert recompilations(points, 100, drop_last=True) == 2
    assert recompilations(points, 5, drop_last=False) == 2 + 5
    # Cut batches have 1 to 3 images of 8x8 or 1 to 15 of 4x4.
    assert recompilations(points, 100, drop_last=False) == 2 + 18


def test_the_error_says_what_to_change():
    text = too_large(DryRunPoint((8, 16), 4), 32, "cuda:1, rank 1", "out of memory")
    assert text == (
        "a batch of 4 images of 8x16 does not fit into the memory of cuda:1, rank 1 "
        "(out of memory): lower train_dataloader.batch_size=32, or give this size "
        "fewer than 4 in batch_sizes of the batch sampler, or leave the size out of "
        "its sizes (and the curriculum's)"
    )
    assert "batch_sizes" not in too_large(DryRunPoint((8, 8), 1), 1, "cpu", "x")
    assert "sizes" not in too_large(DryRunPoint(None, 4), 4, "cpu", "x")
