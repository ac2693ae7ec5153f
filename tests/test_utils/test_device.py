"""Errors of a full memory are recognized; calls are measured as the device counts."""

import pytest
import torch

from mms_plugin.utils.device import (
    device_module,
    free_cache,
    is_out_of_memory,
    run_measured,
)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("anything"),
        RuntimeError("MPS backend out of memory (allocated: 1 GB)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"),
        RuntimeError("Caught MemoryError in DataLoader worker process 0."),
    ],
    ids=str,
)
def test_out_of_memory(error):
    assert is_out_of_memory(error)


def test_the_allocators_own_error():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 46)  # beyond any address space
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes do not match"), ValueError("out of memory"), KeyError("x")],
    ids=str,
)
def test_other_errors(error):
    assert not is_out_of_memory(error)


class Accelerator:
    """A device's module that notes its calls."""

    def __init__(self):
        self.calls = []

    def reset_peak_memory_stats(self):
        self.calls.append("reset")

    def synchronize(self):
        self.calls.append("synchronize")

    def max_memory_allocated(self):
        return 1234

    def empty_cache(self):
        self.calls.append("empty")


def test_the_device_is_waited_for_before_and_after():
    module, times = Accelerator(), iter([10.0, 12.5])
    took = run_measured(lambda: module.calls.append("run"), module, lambda: next(times))
    assert took == (2.5, 1234)
    assert module.calls == ["reset", "synchronize", "run", "synchronize"]
    free_cache(module)
    assert module.calls[-1] == "empty"


def test_the_cpu_counts_no_memory():
    assert device_module("cpu") is None
    times, calls = iter([1.0, 2.0]), []
    took = run_measured(lambda: calls.append(1), None, lambda: next(times))
    assert took == (1.0, None) and calls == [1]
    free_cache(None)


def test_modules_by_name():
    assert device_module("cuda:1") is torch.cuda
    assert device_module("no_such_device:0") is None
