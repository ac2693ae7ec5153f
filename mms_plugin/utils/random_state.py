"""Random numbers that depend on where a training is, not on how it got there.

A process that starts anew, as a resumed training does, has lost the states of its
generators, and those of its loader's workers. Seeded from the place in the training
instead, they need no states to be saved.
"""

from __future__ import annotations

import contextlib
import random
from typing import Dict, Iterable, Iterator, Optional, Set

import numpy as np
import torch
from torch.utils.data import get_worker_info

_BITS_64 = 2**64 - 1


def mixed_seed(*numbers: int) -> int:
    """A seed of 64 bits from whole numbers, in their order.

    SplitMix64's finalizer over each (Steele et al., "Fast splittable pseudorandom
    number generators", OOPSLA 2014): neighbours have nothing in common.
    """
    state = 0
    for number in numbers:
        state = (state + int(number) + 0x9E3779B97F4A7C15) & _BITS_64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _BITS_64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _BITS_64
        state ^= state >> 31
    return state


def set_seeds(seed: int) -> None:
    """Seed Python's, NumPy's and torch's generators, those of all devices."""
    _seed_host(seed)
    torch.manual_seed(_for_torch(seed))


@contextlib.contextmanager
def seeded(seed: Optional[int]) -> Iterator[None]:
    """Make a sample by a seed of its own, in a worker or in the main process.

    In the main process the generators, which the model draws from too, are put back.

    Args:
        seed: ``None``: the generators are left alone.
    """
    if seed is None:
        yield
        return
    in_worker = get_worker_info() is not None
    with contextlib.nullcontext() if in_worker else kept_random_states():
        _seed_host(seed)
        torch.default_generator.manual_seed(_for_torch(seed))
        yield


@contextlib.contextmanager
def kept_random_states(devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Put back the random states of Python, NumPy and torch.

    Args:
        devices: Those beside the CPU whose states are put back.
    """
    by_kind: Dict[str, Set[int]] = {}
    for device in devices:
        if device.type not in ("cpu", "meta"):
            by_kind.setdefault(device.type, set()).add(device.index or 0)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([]))  # the CPU's alone
        for kind, numbers in by_kind.items():
            # torch 2.0 knows CUDA alone, and has no name for others.
            other = {} if kind == "cuda" else {"device_type": kind}
            stack.enter_context(torch.random.fork_rng(sorted(numbers), **other))
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _seed_host(seed: int) -> None:
    # Both are Mersenne twisters: from the same seed they would draw the same numbers.
    random.seed(mixed_seed(seed))
    np.random.seed(np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint32))


def _for_torch(seed: int) -> int:
    return seed >> 1  # MPS and older versions take signed numbers
