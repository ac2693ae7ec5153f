import pytest

from mms_plugin.agvm import AGVMConfig
from mms_plugin.agvm.micro_batch import MicroBatch, micro_batch_at

CONFIG = AGVMConfig(interval=3, start_iter=2)  # without accumulation: 2, 5, 8, ...


@pytest.mark.parametrize(
    "iteration, measured, next_measured",
    [(0, False, False), (1, False, True), (2, True, False), (4, False, True)],
)
def test_an_iteration_that_is_an_update(iteration, measured, next_measured):
    expected = MicroBatch(measured, next_measured, index=0, count=1)
    assert micro_batch_at(CONFIG, iteration) == expected


def test_iterations_of_accumulated_updates():
    # Of four iterations: updates 1, 4, 7, ... are measured.
    assert micro_batch_at(CONFIG, 3, 4) == MicroBatch(False, True, 3, 4)
    assert micro_batch_at(CONFIG, 4, 4) == MicroBatch(True, False, 0, 4)
    assert micro_batch_at(CONFIG, 18, 4) == MicroBatch(True, False, 2, 4)


@pytest.mark.parametrize("total, count", [(-1, 4), (20, 4), (19, 3), (17, 1), (40, 4)])
def test_the_last_update_may_have_fewer_iterations(total, count):
    assert micro_batch_at(CONFIG, 16, 4, total) == MicroBatch(True, False, 0, count)
