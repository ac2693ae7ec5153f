"""Trainings side by side, each a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

from tasks import DemoTask

ROOT = Path(__file__).resolve().parents[2]


class DemoError(Exception):
    """What stops the demo, in one line for the user."""


def say(line: str) -> None:
    """To the user; standard output is kept for ``--json``."""
    print(line, file=sys.stderr, flush=True)


def threads_of(jobs: int) -> int:
    """Threads of each of so many trainings; OMP_NUM_THREADS is the most."""
    share = max(1, (os.cpu_count() or 1) // jobs)
    most = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(most)) if most.isdigit() and int(most) else share


class Trainings:
    """Trains arms side by side, each with its share of the processor's threads.

    A small network does not keep two threads busy; two trainings do.

    Args:
        task: Whose arms they are.
        jobs: How many train at a time.
    """

    def __init__(self, task: DemoTask, jobs: int) -> None:
        self.task = task
        self.threads = threads_of(jobs)
        self._pool = ThreadPoolExecutor(jobs)
        self._running: List[subprocess.Popen[str]] = []

    def start(
        self,
        name: str,
        config: Path,
        work_dir: Path,
        options: Dict[str, Any],
        at_end: Callable[[float, float], None],
    ) -> Future[None]:
        """Queue the training of one arm.

        ``at_end`` gets its wall-clock and processor time in seconds, start-up and
        validation included, as soon as it ends, whatever the caller waits for then.
        """
        return self._pool.submit(
            lambda: at_end(*self._train(name, config, work_dir, options))
        )

    def __enter__(self) -> Trainings:
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is not None:
            # A training that goes on alone would be of no use to anyone.
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in self._running:
                process.terminate()
        self._pool.shutdown()

    def _train(
        self, name: str, config: Path, work_dir: Path, options: Dict[str, Any]
    ) -> Tuple[float, float]:
        """Train one arm through ``tools/train.py``; return the two times."""
        command = [sys.executable, str(ROOT / "tools" / "train.py"), str(config)]
        command += ["--work-dir", str(work_dir), "--cfg-options"]
        command += [f"{key}={value}" for key, value in options.items()]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = dict(os.environ, PYTHONPATH=path)
        environment["OMP_NUM_THREADS"] = str(self.threads)
        log = work_dir / "train.log"
        start = time.perf_counter()
        with (
            log.open("w") as file,
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
            ) as process,
        ):
            self._running.append(process)
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                if "Epoch(val)" in line:
                    self._tell(name, line)
            # Of this child and what it has waited for, not of its neighbour.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self._running.remove(process)
        wall_clock = time.perf_counter() - start
        if process.returncode != 0:
            last = [line for line in log.read_text().splitlines() if line.strip()][-1:]
            raise DemoError(
                f"training {config.name} failed with exit code {process.returncode}: "
                f"{''.join(last)} (all of it: {log})"
            )
        return wall_clock, used.ru_utime + used.ru_stime

    def _tell(self, name: str, line: str) -> None:
        """Say what a validation gave, if this line of the log has it."""
        scalars = dict(re.findall(r"(\S+): (-?[\d.]+)", line))
        values = self.task.metric_values(scalars)
        if values:
            epoch = line.split("Epoch(val)")[1].split("[")[1].split("]")[0]
            shown = ", ".join(f"{key} {value:.1f}" for key, value in values.items())
            say(f"      {name}, epoch {epoch}: {shown}")
