"""A pseudorandom permutation of ``range(n)`` that is computed index by index.

Any part of it is computed from its own positions, without memory of the length ``n``.
"""

from __future__ import annotations

import math
from typing import Optional, Sequence

import numpy as np

# Up to this length a table is drawn, at most 512 KiB: every permutation is equally
# likely, while a Feistel network reaches few permutations of a small range.
MAX_TABLE = 2**16

# Each half of an index is changed four times. Three rounds in all are enough for a
# pseudorandom permutation if the round functions are random (Luby and Rackoff).
ROUNDS = 8

# Indices computed at a time, so that intermediate arrays fit into the CPU's cache.
BLOCK = 2**14

# Odd multipliers and shifts of the 32-bit hash `lowbias32` of skeeto/hash-prospector.
_MULTIPLIERS = (np.uint32(0x7FEB352D), np.uint32(0x846CA68B))
_SHIFTS = (np.uint32(16), np.uint32(15), np.uint32(16))

_WORD = np.uint64(32)


class KeyedPermutation:
    """A permutation of ``range(length)`` chosen by a key.

    Up to ``max_table`` indices it is a table, shuffled by NumPy. Above, it is a Feistel
    network over pairs ``(i, j)``, ``i < a``, ``j < b``, with ``a * b`` just above
    ``length``, which changes ``i`` and ``j`` in turns by a function of the other one.
    A result outside the range is encrypted again until it lies inside ("cycle
    walking"), which at most one in ``sqrt(length)`` indices needs. The round function
    is a 32-bit integer hash with two words of the key.

    It is statistically random, but not cryptographically.

    Sources: Black and Rogaway, "Ciphers with Arbitrary Finite Domains" (CT-RSA 2002),
    for cycle walking and the Feistel network on any range; Mitchell, Stokes, Frank and
    Holmes, "Bandwidth-Optimal Random Shuffling for GPUs" (arXiv 2106.06161), for
    shuffling by such bijections and for testing them.

    Args:
        length: Number of indices, from 0 to ``2**62``.
        key: Any number of non-negative integers of any size.
        max_table: Longest permutation that is kept as a table. Defaults to 65536.

    Raises:
        ValueError: ``length`` is out of range.
    """

    def __init__(
        self, length: int, key: Sequence[int], max_table: int = MAX_TABLE
    ) -> None:
        if not 0 <= length <= 2**62:
            raise ValueError(f"length must be from 0 to 2**62, but got {length!r}")
        self.length = length
        self._table: Optional[np.ndarray] = None
        if length <= max(max_table, 1):
            self._table = np.random.default_rng(key).permutation(length)
            return
        rows = math.isqrt(length - 1) + 1
        self._radices = (rows, -(-length // rows))
        words = np.random.SeedSequence(key).generate_state(2 * ROUNDS, np.uint32)
        self._round_keys = words.reshape(ROUNDS, 2)

    def __len__(self) -> int:
        return self.length

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return the indices at ``positions``.

        Args:
            positions: Integers from 0 to ``length - 1``, of any shape.

        Returns:
            The indices in the same shape, ``int64``.
        """
        if self._table is not None:
            return self._table[positions]
        flat = np.asarray(positions, dtype=np.int64).reshape(-1)
        indices = np.empty_like(flat)
        for start in range(0, len(flat), BLOCK):
            indices[start : start + BLOCK] = self._walk(flat[start : start + BLOCK])
        return indices.reshape(np.shape(positions))

    def _walk(self, positions: np.ndarray) -> np.ndarray:
        """Encrypt positions until the results lie inside the range."""
        indices = self._encrypt(positions)
        # This ends, since the cycle through a position inside the range returns to it.
        outside = np.flatnonzero(indices >= self.length)
        while len(outside):
            again = self._encrypt(indices[outside])
            indices[outside] = again
            outside = outside[again >= self.length]
        return indices

    def _encrypt(self, values: np.ndarray) -> np.ndarray:
        """Permute the range of the product of the radices, in which ``values`` lie."""
        wide = values.astype(np.uint64)
        columns = np.uint64(self._radices[1])
        rows = wide // columns
        halves = [rows.astype(np.uint32), (wide - rows * columns).astype(np.uint32)]
        mixed, other = np.empty_like(halves[0]), np.empty_like(halves[0])
        for number, keys in enumerate(self._round_keys):
            half, radix = halves[number % 2], self._radices[number % 2]
            _hash(halves[1 - number % 2], keys, mixed, other)
            # Reduce 32 bits to the radix: take the high word of the product.
            np.copyto(wide, mixed)
            np.multiply(wide, np.uint64(radix), out=wide)
            np.right_shift(wide, _WORD, out=wide)
            np.copyto(mixed, wide, casting="unsafe")
            # Add modulo the radix: a negative difference wraps to a large number.
            np.add(half, mixed, out=half)
            np.subtract(half, np.uint32(radix), out=other)
            np.minimum(half, other, out=half)
        np.copyto(wide, halves[0])
        np.multiply(wide, columns, out=wide)
        np.add(wide, halves[1], out=wide)
        return wide.astype(np.int64)


def _hash(
    values: np.ndarray, keys: np.ndarray, out: np.ndarray, scratch: np.ndarray
) -> None:
    """Write a keyed hash of 32-bit integers to ``out``; all arrays have one shape."""
    np.add(values, keys[0], out=out)
    for position, shift in enumerate(_SHIFTS):
        np.right_shift(out, shift, out=scratch)
        np.bitwise_xor(out, scratch, out=out)
        if position == 0:
            np.bitwise_xor(out, keys[1], out=out)
        if position < len(_MULTIPLIERS):
            np.multiply(out, _MULTIPLIERS[position], out=out)
