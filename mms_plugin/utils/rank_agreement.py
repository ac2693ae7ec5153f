"""Let ranks tell each other of a failure without a collective."""

from __future__ import annotations

import time
from typing import Any, Callable, Optional

import torch.distributed as dist

__all__ = ["RankAgreement"]

_VERDICT, _PASSED, _NOTED = "verdict", "passed", "noted"
_FINE = b"fine"

# What torch.distributed itself waits for a rank by default.
_PATIENCE = 1800.0
_LONGEST_NAP = 0.5


class RankAgreement:
    """Tell all ranks whether one of them has failed in a step.

    The ranks use the key-value store of the process group, not a collective: a rank
    can tell of its failure while others are still inside the step, and a collective of
    the step itself cannot be mistaken for the meeting's.

    Args:
        store: Read and written by all ranks (``dist.PrefixStore``); ``None`` for a
            single process.
        rank: Of this process. Defaults to 0.
        world_size: Number of ranks. Defaults to 1.
        grace: Seconds that a failed rank waits for the others to read its failure. If
            it ended at once, the launcher would end them before they can log it.
            Defaults to 30.
        clock: Returns the time in seconds. Defaults to ``time.monotonic``.
        sleep: Waits for a number of seconds. Defaults to ``time.sleep``.
    """

    def __init__(
        self,
        store: Any,
        rank: int = 0,
        world_size: int = 1,
        grace: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._rank, self._world_size = rank, world_size
        self._grace = grace
        self._clock, self._sleep = clock, sleep
        self._step = 0

    @classmethod
    def of_process_group(cls, name: str, grace: float = 30.0) -> RankAgreement:
        """Return an agreement of the default process group, or of a single process.

        Args:
            name: The same on every rank, and another one for each use.
            grace: See above. Defaults to 30.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return cls(None)
        # torch has no public way to it. Every backend has one.
        store = dist.distributed_c10d._get_default_store()
        return cls(
            dist.PrefixStore(name, store),  # type: ignore[attr-defined]
            dist.get_rank(),
            dist.get_world_size(),
            grace,
        )

    def meet(self, failure: Optional[str] = None) -> Optional[str]:
        """End a step, and return whether a rank has failed in it.

        Args:
            failure: Why this rank has failed. Defaults to ``None``: it has not.

        Returns:
            Why a rank has failed; ``None`` if all have succeeded.

        Raises:
            RuntimeError: A rank has not answered for half an hour.
        """
        if self._store is None:
            return failure
        self._step += 1
        if failure is not None:
            self._store.set(self._key(_VERDICT), failure)
            self._take_note()
            self._wait(self._all_noted, self._grace)
            return failure
        if self._store.add(self._key(_PASSED), 1) == self._world_size:
            self._store.set(self._key(_VERDICT), _FINE)
        verdict = self._key(_VERDICT)
        if not self._wait(lambda: self._store.check([verdict]), _PATIENCE):
            raise RuntimeError(
                f"rank {self._rank} has waited {_PATIENCE:.0f} s for the other ranks "
                "to finish a step of the dry run; see their logs for what they do"
            )
        answer = self._store.get(verdict)
        if answer == _FINE:
            return None
        self._take_note()
        return bytes(answer).decode()

    def _key(self, name: str) -> str:
        return f"{self._step}/{name}"

    def _take_note(self) -> None:
        self._store.add(self._key(_NOTED), 1)

    def _all_noted(self) -> bool:
        return bool(self._store.add(self._key(_NOTED), 0) >= self._world_size)

    def _wait(self, happened: Callable[[], bool], seconds: float) -> bool:
        # Not the store's own wait, which blocks its connection.
        end, nap = self._clock() + seconds, 0.001
        while not happened():
            if self._clock() >= end:
                return False
            self._sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP)
        return True
