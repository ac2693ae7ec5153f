"""Find the size at which a config evaluates."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from .datasets import pipeline_chains
from .pipeline_paths import all_transforms
from .size_transforms import CUT, RESIZE, Sides, read_size

__all__ = ["evaluation_size"]

_LOADERS = ("val_dataloader", "test_dataloader")


def evaluation_size(config: Mapping) -> Optional[Sides]:
    """Return the output size of the test pipeline, ``(height, width)`` in pixels.

    With ``keep_ratio`` this is the upper bound: ``(short side, long side)``.

    Args:
        config: The whole config.

    Returns:
        The size of the first evaluation data loader whose pipeline sets one; ``None``
        if there is none.
    """
    scope = str(config.get("default_scope") or "")
    for key in _LOADERS:
        loaders = config.get(key)
        for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
            size = _loader_size(loader, key, scope)
            if size is not None:
                return size
    return None


def _loader_size(loader: Any, key: str, scope: str) -> Optional[Sides]:
    if not isinstance(loader, Mapping) or loader.get("dataset") is None:
        return None
    size = None
    try:
        for _, chain in pipeline_chains(loader["dataset"], f"{key}.dataset"):
            for pipeline in chain:
                for _, transform in all_transforms(pipeline):
                    use = read_size(transform, scope)
                    if use is not None and use.role in (RESIZE, CUT) and use.size:
                        size = use.size
            if size is not None:
                return size
    except ValueError:  # includes RecipeError: the pipeline is not understood
        return None
    return size
