"""Train an arm on several real processes of this machine."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from typing import List, Sequence

import torch.distributed as dist

GRACE_SECONDS = 120.0
"""How long the other ranks may take to end after the first one."""

_PR_SET_PDEATHSIG = 1


def run_on_ranks(command: Sequence[str], world_size: int) -> None:
    """Run a command once per rank, and wait for all of them.

    The command must call :func:`join`. A rank that has ended well while others wait
    for it, as when its loss alone has exploded, ends the others after
    :data:`GRACE_SECONDS`.

    Args:
        command: The command and its arguments.
        world_size: Number of processes.

    Raises:
        RuntimeError: A rank has failed; the others are killed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = dict(
        WORLD_SIZE=str(world_size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    processes: List[subprocess.Popen] = []
    try:
        for rank in range(world_size):
            own = dict(RANK=str(rank), LOCAL_RANK=str(rank))
            environment = {**os.environ, **shared, **own}
            processes.append(subprocess.Popen(list(command), env=environment))
        _wait(processes)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def _wait(processes: Sequence[subprocess.Popen]) -> None:
    first_end = None
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                raise RuntimeError(f"rank {rank} failed with exit code {code}")
        if all(code is not None for code in codes):
            return
        if first_end is None and any(code is not None for code in codes):
            first_end = time.monotonic()
        if first_end is not None and time.monotonic() - first_end > GRACE_SECONDS:
            return
        time.sleep(0.5)


def join() -> int:
    """Join the process group that :func:`run_on_ranks` has announced.

    The process is killed when the one that started it dies, so that a lock which that
    one held is never free while the ranks still train.

    Returns:
        int: The rank.
    """
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call
        raise SystemExit(1)
    # Before the runner: MMEngine would ask for a GPU.
    dist.init_process_group("gloo")
    return dist.get_rank()
