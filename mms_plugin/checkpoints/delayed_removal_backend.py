"""A file backend that removes outdated checkpoints only when it is told to."""

from __future__ import annotations

import logging
from typing import Any, List, Sequence

from mmengine.logging import print_log

__all__ = ["DelayedRemovalBackend"]


class DelayedRemovalBackend:
    """Pass everything on to another file backend, except removals.

    ``CheckpointHook`` removes an old checkpoint before it writes the new one. Here it
    stays until :meth:`remove_outdated` is called.

    Args:
        backend: The file backend that does the work.

    Attributes:
        outdated (list[str]): Paths to be removed, in the order of the calls.
    """

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.outdated: List[str] = []

    def remove(self, path: str) -> None:
        """Note a path that is to be removed."""
        self.outdated.append(path)

    rmtree = remove

    def remove_outdated(self, in_use: Sequence[Any]) -> None:
        """Remove the paths that were noted; warn of those that cannot be removed.

        It runs on one rank: an error would leave the others waiting.

        Args:
            in_use: Paths that stay, since they have been written again.
        """
        while self.outdated:
            path = self.outdated.pop(0)
            if path in in_use:
                continue
            try:
                # MMEngine's own rule: DeepSpeed's checkpoints are folders.
                if self.backend.isfile(path):
                    self.backend.remove(path)
                elif self.backend.isdir(path):
                    self.backend.rmtree(path)
            except OSError as error:
                text = f"an outdated checkpoint cannot be removed: {error}"
                print_log(text, "current", logging.WARNING)

    def __getattr__(self, name: str) -> Any:
        """Return what the other backend has under a name."""
        if name.startswith("__") or name == "backend":
            raise AttributeError(name)
        return getattr(self.backend, name)
