"""Measure a call on a device, and recognize when its memory is full."""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple

import torch

__all__ = ["device_module", "free_cache", "is_out_of_memory", "run_measured"]


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory is full, on any device."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    # The CPU's allocator, CUDA's libraries and other accelerators raise plain
    # RuntimeErrors.
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
    """Return torch's module of an accelerator, such as ``torch.cuda``.

    Args:
        device: Such as ``'cuda:0'``.

    Returns:
        ``None`` for the CPU, and for a device that torch has no module for.
    """
    name = device.partition(":")[0]
    return None if name == "cpu" else getattr(torch, name, None)


def run_measured(
    function: Callable[[], Any], module: Any, clock: Callable[[], float]
) -> Tuple[float, Optional[int]]:
    """Run a function, wait for the device, and measure time and memory.

    Args:
        function: Called without arguments.
        module: Of the device, from :func:`device_module`.
        clock: Returns the time in seconds.

    Returns:
        Seconds, and bytes that the device's allocator held at the peak; ``None`` if it
        does not count them.
    """
    _call(module, "reset_peak_memory_stats")
    _call(module, "synchronize")
    start = clock()
    function()
    _call(module, "synchronize")
    took = clock() - start
    return took, _call(module, "max_memory_allocated")


def free_cache(module: Any) -> None:
    """Let the allocator of a device release its unused memory."""
    _call(module, "empty_cache")


def _call(module: Any, name: str) -> Any:
    # Some accelerators' modules lack some of the functions.
    function = getattr(module, name, None)
    return None if function is None else function()
