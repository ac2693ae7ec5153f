"""Seed the random generators from the place in a training, and put them back.

A resumed training has lost the states of the generators of its first process and of
its data loader's workers. With generators that are seeded by the iteration, the batch
and the sample, no states need to be saved.
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
    """Return a seed of 64 bits from integers; their order counts.

    It applies the finalizer of SplitMix64 to each (Steele et al., "Fast splittable
    pseudorandom number generators", OOPSLA 2014), so that close integers give
    unrelated seeds.
    """
    state = 0
    for number in numbers:
        state = (state + int(number) + 0x9E3779B97F4A7C15) & _BITS_64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _BITS_64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _BITS_64
        state ^= state >> 31
    return state


def set_seeds(seed: int) -> None:
    """Seed the generators of Python, NumPy and torch, on all devices."""
    _seed_host(seed)
    torch.manual_seed(_for_torch(seed))


@contextlib.contextmanager
def seeded(seed: Optional[int]) -> Iterator[None]:
    """Load a sample with a seed of its own, in a worker or in the main process.

    In the main process, where the model draws from the same generators, their states
    are put back.

    Args:
        seed: Seed of the sample; ``None`` leaves the generators as they are.
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
        devices: Devices other than the CPU whose states are put back too. Defaults to
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
            # torch 2.0 supports only CUDA, and has no such argument.
            other = {} if kind == "cuda" else {"device_type": kind}
            stack.enter_context(torch.random.fork_rng(sorted(numbers), **other))
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)


def _seed_host(seed: int) -> None:
    # Both are Mersenne twisters: with the same seed they would draw the same numbers.
    random.seed(mixed_seed(seed))
    np.random.seed(np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint32))


def _for_torch(seed: int) -> int:
    return seed >> 1  # MPS and older versions of torch take signed numbers
