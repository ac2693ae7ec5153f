"""Random numbers that depend only on the progress of a training.

A resumed training has lost the states of its generators and of those in its workers.
Seeded by the progress instead, their states need not be saved.
"""

from __future__ import annotations

import contextlib
import random
from typing import Dict, Iterable, Iterator, Optional, Set

import numpy as np
import torch
from torch.utils.data import get_worker_info

_BITS_64 = 2**64 - 1


def mixed_seed(*numbers: int, begin: int = 0) -> int:
    """Return a seed of 64 bits that depends on some integers and their order.

    It applies SplitMix64's finalizer (Steele et al., "Fast splittable pseudorandom
    number generators", OOPSLA 2014), so that similar integers give unrelated seeds.

    Args:
        numbers: The integers.
        begin: Seed of the integers before them: ``mixed_seed(2, begin=mixed_seed(1))``
            is ``mixed_seed(1, 2)``. Defaults to 0, the seed of no integers.
    """
    state = begin
    for number in numbers:
        state = (state + int(number) + 0x9E3779B97F4A7C15) & _BITS_64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _BITS_64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _BITS_64
        state ^= state >> 31
    return state


def set_seeds(seed: int, all_devices: bool = True) -> None:
    """Seed Python's, NumPy's and torch's generators.

    Args:
        seed: From 0 to 2**64 - 1.
        all_devices: Seed torch's generators of all devices, not only of the CPU.
            Defaults to ``True``.
    """
    # Both are Mersenne twisters: from the same seed they would draw the same numbers.
    random.seed(mixed_seed(seed))
    np.random.seed(np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint32))
    generator = torch if all_devices else torch.default_generator
    generator.manual_seed(seed >> 1)  # MPS and older versions take signed numbers


@contextlib.contextmanager
def seeded(seed: Optional[int]) -> Iterator[None]:
    """Seed the generators of the CPU while a sample is loaded.

    In the main process they are restored afterwards, since the model draws from them
    too.

    Args:
        seed: Seed of the sample. ``None`` does not change the generators.
    """
    if seed is None:
        yield
        return
    in_worker = get_worker_info() is not None
    with contextlib.nullcontext() if in_worker else kept_random_states():
        set_seeds(seed, all_devices=False)
        yield


@contextlib.contextmanager
def kept_random_states(devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Restore the random states of Python, NumPy and torch afterwards.

    Args:
        devices: Devices, in addition to the CPU, whose states are restored. Defaults to
            none.
    """
    by_kind: Dict[str, Set[int]] = {}
    for device in devices:
        if device.type not in ("cpu", "meta"):
            by_kind.setdefault(device.type, set()).add(device.index or 0)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([]))  # only the CPU's
        for kind, numbers in by_kind.items():
            devices_of_kind = torch.random.fork_rng(sorted(numbers), device_type=kind)
            stack.enter_context(devices_of_kind)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
