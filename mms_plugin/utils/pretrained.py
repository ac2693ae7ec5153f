"""Remove the pretrained weights that a config names."""

from __future__ import annotations

from typing import Any, Mapping

from .config_types import class_name

__all__ = ["without_pretrained"]

_INITIALIZERS = ("Pretrained", "PretrainedInit")


def without_pretrained(config: Any) -> Any:
    """Return a copy of a config whose models start from random weights.

    ``pretrained=...`` is left out, and ``init_cfg`` where it loads weights, so that
    nothing is downloaded.

    Args:
        config: A config or a part of one.
    """
    if isinstance(config, Mapping):
        kept = {
            key: without_pretrained(item)
            for key, item in config.items()
            if not (key == "pretrained" and item)
            and not (key == "init_cfg" and _loads(item))
        }
        # A ConfigDict again: models read its entries as attributes.
        return type(config)(kept) if isinstance(config, dict) else kept
    if isinstance(config, (list, tuple)):
        return type(config)(
            [without_pretrained(item) for item in config if not _loads(item)]
        )
    return config


def _loads(config: Any) -> bool:
    """Return whether a config is of an initializer that loads weights."""
    return (
        isinstance(config, Mapping) and class_name(config.get("type")) in _INITIALIZERS
    )
