"""Arms of a benchmark: who trains which, and one result file for each.

An arm is a dict of settings with a unique ``name``. Several processes, one after the
other or at once, may work on one list of arms: an arm with a result file is done, and
a file lock, which ends with its process, marks the one that is being trained.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Union

from mms_plugin.utils.files import write_atomically

Arm = Dict[str, Any]
Result = Dict[str, Any]

WAIT_SECONDS = 30.0
"""Between two looks at arms that another process trains."""


class ArmStore:
    """Result files and working folders of a benchmark's arms.

    Args:
        results_dir: Folder of the result files, one ``<arm>.json`` each. It lies
            beside the assembled file: ``docs/results/<benchmark>``.
        work_dir: Folder for checkpoints and locks.
    """

    def __init__(
        self, results_dir: Union[str, Path], work_dir: Union[str, Path]
    ) -> None:
        self.results_dir = Path(results_dir).resolve()
        self.work_dir = Path(work_dir).resolve()

    def results(self) -> List[Result]:
        """Return the results of all arms that are done, sorted by name."""
        paths = sorted(self.results_dir.glob("*.json"))
        return [json.loads(path.read_text()) for path in paths]

    def is_done(self, name: str) -> bool:
        """Return whether the arm has a result file."""
        return self._path(name).is_file()

    def save(self, name: str, result: Mapping[str, Any]) -> None:
        """Write the result of an arm."""
        write_json(result, self._path(name))

    def folder(self, name: str) -> Path:
        """Return the working folder of an arm; make it if necessary."""
        folder = self.work_dir / _checked(name)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextlib.contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Yield whether this process may train the arm now.

        The lock is released at the end of the context, or by the system when the
        process dies.
        """
        with open(self.folder(name) / "lock", "w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def assemble(self, about: Mapping[str, Any]) -> Path:
        """Merge the result files into ``<results_dir>.json`` and return its path."""
        path = self.results_dir.with_name(self.results_dir.name + ".json")
        write_json(dict(arms=self.results(), about=dict(about)), path)
        return path

    def _path(self, name: str) -> Path:
        return self.results_dir / f"{_checked(name)}.json"


def _checked(name: str) -> str:
    if not re.fullmatch(r"[\w.+-]+", name):
        raise ValueError(
            "the name of an arm must consist of letters, digits, '_', '.', '+' and "
            f"'-', but got {name!r}."
        )
    return name


def write_json(content: Any, path: Union[str, Path]) -> None:
    """Write JSON that is whole, or as it was before, whenever the process dies."""
    text = json.dumps(content, indent=1, allow_nan=False, default=float)
    write_atomically((text + "\n").encode(), path)


def work_through(
    store: ArmStore,
    plan: Callable[[List[Result]], Sequence[Arm]],
    train: Callable[[Arm, Path], Result],
    wanted: Callable[[Arm], bool] = lambda arm: True,
    after_arm: Callable[[], Any] = lambda: None,
) -> int:
    """Train arm after arm until the plan has no arm without a result.

    The plan is asked anew before each arm, so that it may depend on the results of
    all processes so far. Arms that another process trains are waited for. An arm that
    fails is told of and left out, so that it does not keep the others from training.

    Args:
        store: Where results and checkpoints are.
        plan: All arms that follow from the results so far, the most urgent first.
        train: Trains an arm in its folder, or continues it, and returns its result.
        wanted: Whether to train an arm at all. Defaults to all.
        after_arm: Called after each arm that this process has finished. Defaults to
            nothing.

    Returns:
        int: Number of arms that this process has finished.

    Raises:
        RuntimeError: Arms have failed; all others are done.
    """
    finished = 0
    failed: List[str] = []
    while True:
        arms = [arm for arm in plan(store.results()) if wanted(arm)]
        pending = [
            arm
            for arm in arms
            if not store.is_done(arm["name"]) and arm["name"] not in failed
        ]
        if not pending:
            break
        for arm in pending:
            with store.claim(arm["name"]) as mine:
                # Another process may have finished it since the plan was made.
                if not mine or store.is_done(arm["name"]):
                    continue
                tell(f"{arm['name']}: begins ({len(pending)} arms pending)")
                try:
                    result = train(arm, store.folder(arm["name"]))
                except Exception:
                    tell(f"{arm['name']}: failed\n{traceback.format_exc()}")
                    failed.append(arm["name"])
                    break
                store.save(arm["name"], result)
                finished += 1
                after_arm()
                break
        else:
            time.sleep(WAIT_SECONDS)
    if failed:
        raise RuntimeError(f"arms that failed: {', '.join(failed)}")
    return finished


def tell(line: str) -> None:
    """Print a line of progress, with the time, to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def git_commit(folder: Union[str, Path]) -> str:
    """Return the commit of a checkout, ``+`` behind it if files differ from it."""
    command = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run(
            [*command, "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        changed = subprocess.run(
            [*command, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")
