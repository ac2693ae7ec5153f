"""Time and peak memory of training iterations on this device."""

from __future__ import annotations

import random
import statistics
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..utils.device import device_module, free_cache, is_out_of_memory, run_measured

__all__ = ["Timing", "is_out_of_memory", "time_iterations"]

Point = Tuple[int, int, int]
"""``(height, width, batch_size)``."""


class Timing(NamedTuple):
    """What the iterations of one size and batch size took.

    Attributes:
        seconds: Median over the repeats; ``None``: it did not fit into the memory.
        spread: Distance between the quartiles over the median; ``None`` below four
            repeats.
        memory: Bytes that the device's allocator held at the peak, its highest over
            the repeats; ``None`` where the device does not count.
    """

    seconds: Optional[float]
    spread: Optional[float] = None
    memory: Optional[int] = None


def time_iterations(
    points: Sequence[Point],
    prepare: Callable[[int, int, int], Callable[[], Any]],
    repeats: int = 5,
    warmup: int = 1,
    seed: int = 0,
    device: str = "cpu",
    progress: Optional[Callable[[int, int], None]] = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Dict[Point, Timing]:
    """Time iterations of several sizes and batch sizes, in turn.

    Each round runs every point once, in an order of its own: what slows the machine
    down for a while hits all of them alike. A point that does not fit into the memory
    is left out of later rounds, and so are larger batches of its size.

    Args:
        points: What to time.
        prepare: ``prepare(height, width, batch_size)`` readies a batch, which is not
            timed, and gives the iteration on it.
        repeats: Rounds that count. Defaults to 5.
        warmup: Rounds before them that do not. Defaults to 1.
        seed: Of the orders; no global generator is used. Defaults to 0.
        device: Where the iterations run, such as ``'cuda'``: it is waited for, and
            its peak memory is read. Defaults to ``'cpu'``.
        progress: Called with the number of rounds done and of all rounds. Defaults to
            None.
        clock: Returns seconds. Defaults to ``time.perf_counter``.

    Returns:
        The timing of each point.

    Raises:
        Exception: What an iteration raises, other than being out of memory.
    """
    order = random.Random(seed)
    seconds: Dict[Point, List[float]] = {point: [] for point in points}
    memory: Dict[Point, int] = {}
    failed: Set[Point] = set()
    backend = device_module(device)
    for number in range(warmup + repeats):
        for point in order.sample(list(seconds), len(seconds)):
            if _is_beyond(point, failed):
                continue
            try:
                took, peak = run_measured(prepare(*point), backend, clock)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                failed.add(point)
            else:
                if peak is not None:
                    memory[point] = max(peak, memory.get(point, 0))
                if number >= warmup:
                    seconds[point].append(took)
                continue
            # Outside the handler, whose traceback holds the iteration's tensors.
            free_cache(backend)
        if progress is not None:
            progress(number + 1, warmup + repeats)
    return {
        point: Timing(None)
        if _is_beyond(point, failed)
        else Timing(statistics.median(took), _spread(took), memory.get(point))
        for point, took in seconds.items()
    }


def _is_beyond(point: Point, failed: Set[Point]) -> bool:
    return any(point[:2] == f[:2] and point[2] >= f[2] for f in failed)


def _spread(values: Sequence[float]) -> Optional[float]:
    if len(values) < 4:
        return None
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / statistics.median(values)
