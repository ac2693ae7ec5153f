"""A data loader's config without worker processes."""

from __future__ import annotations

from typing import Any, Dict, Mapping

__all__ = ["in_process"]

# torch refuses them without worker processes.
_WORKERS_ONLY = ("multiprocessing_context", "prefetch_factor", "timeout")


def in_process(loader: Mapping) -> Dict[str, Any]:
    """Return the config of a data loader that loads in this process.

    Args:
        loader: Config of a data loader. It is not changed.
    """
    kept = {key: value for key, value in loader.items() if key not in _WORKERS_ONLY}
    return {**kept, "num_workers": 0, "persistent_workers": False, "pin_memory": False}
