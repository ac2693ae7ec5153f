import pytest

from mms_plugin.recipes.large_batch_numbers import large_batch_times, share_batch

COCO = 117_266


def test_every_batch_that_can_be_made_is_and_no_other():
    for world_size in (1, 2, 3, 8):
        for images in (1, 2, 3):
            can = {
                world_size * images * accumulation for accumulation in range(1, 60)
            } | {world_size * fewer for fewer in range(1, images)}
            for total in range(1, 60):
                if total not in can:
                    with pytest.raises(ValueError, match=f"batch_size={total} cannot"):
                        share_batch(total, world_size, images)
                    continue
                shares = share_batch(total, world_size, images)
                assert shares.images <= images
                assert shares.images_of_iteration * shares.accumulation == total
                assert shares.images == images or shares.accumulation == 1


def test_a_refusal_names_batches_that_work():
    with pytest.raises(ValueError, match="use 256 or 272") as error:
        share_batch(257, 8, 2)
    assert share_batch(256, 8, 2).accumulation == 16
    assert share_batch(272, 8, 2).accumulation == 17
    assert "8 ranks with 2 images" in str(error.value)
    with pytest.raises(ValueError, match="use 8, or"):
        share_batch(5, 8, 2)


@pytest.mark.parametrize("batch, warmup", [(256, 920), (512, 460)])
def test_the_released_recipes(batch, warmup):
    """16 epochs of COCO: the released warm-up and its first measurement."""
    times = large_batch_times(16 * -(-COCO // batch), batch)
    assert times.warmup == pytest.approx(warmup, abs=2)
    assert times.start == times.warmup + 100
    assert (times.clip_begin, times.clip_end) == (times.warmup - 100, times.start)
    assert (times.interval, times.momentum) == (10, 0.97)


def test_thousands_are_measured_every_five_updates():
    assert large_batch_times(20_000, 1_001).interval == 5
    assert large_batch_times(20_000, 1_000).interval == 10


@pytest.mark.parametrize("updates", [140, 200, 500, 924, 2_000, 7_344, 100_000])
def test_a_hundred_measurements_where_they_fit(updates):
    times = large_batch_times(updates, 512)
    indices = range(times.start, updates, times.interval)
    assert times.measurements == len(indices) >= 100
    assert 0 < times.warmup <= updates / 8
    assert times.warmup < times.start < updates
    # The average reaches over a fifth of them at most.
    assert 1 / (1 - times.momentum) <= max(times.measurements / 5, 10) * 1.02


def test_short_trainings_measure_before_every_update():
    times = large_batch_times(40, 64)
    assert (times.interval, times.momentum) == (1, 0.9)
    assert times.measurements == 40 - times.start < 50
    assert large_batch_times(2, 64).measurements == 1


def test_what_is_given_is_kept():
    times = large_batch_times(1_000, 256, warmup=50, start=200, interval=4)
    assert (times.warmup, times.start, times.interval) == (50, 200, 4)
    assert times.measurements == 200
    assert large_batch_times(1_000, 256, momentum=0.5).momentum == 0.5
    stopped = large_batch_times(1_000, 256, start=200, stop=400)
    assert (stopped.interval, stopped.measurements) == (2, 100)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="warmup_iters=100 must be below the 100"):
        large_batch_times(100, 256, warmup=100)
    with pytest.raises(ValueError, match="start_iter must lie before the end"):
        large_batch_times(100, 256, start=100)
