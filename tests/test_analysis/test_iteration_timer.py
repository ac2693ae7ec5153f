import types

import pytest
import torch

from mms_plugin.analysis import is_out_of_memory, time_iterations


class Machine:
    """A machine whose clock is moved by the iterations alone, and a log of them."""

    def __init__(self, seconds, fails=lambda *point: None):
        self.now, self.log = 0.0, []
        self.seconds, self.fails = seconds, fails

    def prepare(self, height, width, batch_size):
        self.now += 1000.0  # loading is not timed

        def iteration():
            error = self.fails(height, width, batch_size)
            self.log.append((height, width, batch_size))
            if error is not None:
                raise error
            self.now += self.seconds(len(self.log), (height, width, batch_size))

        return iteration

    def time(self, points, **kwargs):
        return time_iterations(points, self.prepare, clock=lambda: self.now, **kwargs)


POINTS = [(8, 8, 4), (8, 8, 16), (16, 16, 4)]


def test_median_without_the_warm_up():
    # By round: 90 s in the warm-up, then 1, 2, 30, 4 and 5.
    rounds = [90, 1, 2, 30, 4, 5]
    machine = Machine(lambda done, point: rounds[(done - 1) // 3] * point[2])
    timings = machine.time(POINTS, repeats=5, warmup=1)
    assert {p: t.seconds for p, t in timings.items()} == {
        (8, 8, 4): 16,
        (8, 8, 16): 64,
        (16, 16, 4): 16,
    }
    assert all(t.memory is None for t in timings.values())
    assert all(t.spread > 1 for t in timings.values())


def test_each_round_runs_all_in_an_order_of_its_own():
    machine = Machine(lambda done, point: 1.0)
    done = []
    torch.manual_seed(0)
    before = torch.get_rng_state()
    machine.time(
        POINTS, repeats=9, warmup=1, progress=lambda n, total: done.append((n, total))
    )
    rounds = [machine.log[i : i + 3] for i in range(0, 30, 3)]
    assert all(sorted(r) == sorted(POINTS) for r in rounds)
    assert len({tuple(r) for r in rounds}) > 2
    assert done == [(n, 10) for n in range(1, 11)]
    assert torch.equal(before, torch.get_rng_state())
    again = Machine(lambda done, point: 1.0)
    again.time(POINTS, repeats=9, warmup=1)
    assert again.log == machine.log


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_noted_and_not_tried_again(error):
    points = [(8, 8, 4), (8, 8, 16), (8, 8, 32), (16, 16, 32)]
    machine = Machine(
        lambda done, point: 1.0,
        lambda h, w, b: error if h == 8 and b >= 16 else None,
    )
    timings = machine.time(points, repeats=3, warmup=1)
    assert [timings[p].seconds for p in points] == [1.0, None, None, 1.0]
    assert machine.log.count((8, 8, 16)) <= 1
    assert machine.log.count((8, 8, 4)) == 4


def test_another_error_goes_on():
    machine = Machine(lambda *_: 1.0, lambda *_: ValueError("Expected more than 1"))
    with pytest.raises(ValueError, match="Expected more"):
        machine.time(POINTS)
    assert not is_out_of_memory(ValueError("out of memory"))


def test_accelerators_are_waited_for_and_their_peak_memory_is_read(monkeypatch):
    machine = Machine(lambda done, point: 0.0)
    peaks = iter([5, 7, 6])
    calls = []

    def synchronize():
        # The iteration has gone only as far as the queue: it takes its time here.
        calls.append("synchronize")
        if calls.count("synchronize") % 2 == 0:
            machine.now += 3.0

    fake = types.SimpleNamespace(
        synchronize=synchronize,
        reset_peak_memory_stats=lambda: calls.append("reset"),
        max_memory_allocated=lambda: next(peaks),
    )
    monkeypatch.setattr(torch, "fake_device", fake, raising=False)
    timings = machine.time([(8, 8, 4)], repeats=2, warmup=1, device="fake_device:0")
    assert timings[8, 8, 4][::2] == (3.0, 7)
    assert calls == ["reset", "synchronize", "synchronize"] * 3
