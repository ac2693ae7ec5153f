"""One measured call on this device, and what its running out of memory looks like."""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple

import torch

__all__ = ["device_module", "free_cache", "is_out_of_memory", "run_measured"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an iteration failed for want of memory, on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    # The CPU's allocator, CUDA's libraries and other accelerators have no class of
    # their own.
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in text
        for sign in (
            "out of memory",
            "can't allocate memory",
            "not enough memory",
            "status_alloc_failed",
            "memoryerror",  # of a data loader's worker
        )
    )


def device_module(device: str) -> Any:
    """torch's module of an accelerator, such as ``torch.cuda``; None for the CPU."""
    name = device.partition(":")[0]
    return None if name == "cpu" else getattr(torch, name, None)


def run_measured(
    function: Callable[[], Any], module: Any, clock: Callable[[], float]
) -> Tuple[float, Optional[int]]:
    """Run a function and wait for the device.

    Args:
        function: Takes nothing.
        module: Of the device, from :func:`device_module`.
        clock: Seconds.

    Returns:
        Seconds, and bytes that the device's allocator held at the peak; ``None`` where
        it does not count.
    """
    _call(module, "reset_peak_memory_stats")
    _call(module, "synchronize")
    start = clock()
    function()
    _call(module, "synchronize")
    took = clock() - start
    return took, _call(module, "max_memory_allocated")


def free_cache(module: Any) -> None:
    """Let a device's allocator give back what is not in use."""
    _call(module, "empty_cache")


def _call(module: Any, name: str) -> Any:
    # Not every accelerator's module has all of them.
    function = getattr(module, name, None)
    return None if function is None else function()
