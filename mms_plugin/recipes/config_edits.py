"""Read and change configs: dicts and MMEngine's ``Config``, text or lazy imports."""

from __future__ import annotations

import copy
import re
from typing import (
    Any,
    Callable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

__all__ = [
    "RecipeError",
    "Report",
    "add_plugin_import",
    "assign",
    "nested_components",
    "nested_configs",
    "short",
]

Report = Callable[[str], None]
"""A function that is called with one line of text for each change."""


class RecipeError(ValueError):
    """Error for a config that a recipe cannot convert.

    Attributes:
        place: Path in the config, such as ``'train_dataloader.dataset.pipeline[2]'``.
        reason: Why it cannot be converted and, where possible, what to do.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


def add_plugin_import(config: Any, report: Optional[Report] = None) -> None:
    """Add ``mms_plugin`` to the ``custom_imports`` of a config, in place.

    ``allow_failed_imports`` stays as the config has it, False without one.
    """
    imports = config.get("custom_imports") or dict(imports=[])
    names: Any = imports["imports"]
    names = [names] if isinstance(names, str) else list(names)
    if "mms_plugin" not in names:
        names.append("mms_plugin")
        if report is not None:
            report("custom_imports: added mms_plugin")
    allowed = imports.get("allow_failed_imports", False)
    config["custom_imports"] = dict(imports=names, allow_failed_imports=allowed)


def nested_components(config: Mapping) -> List[Tuple[str, Sequence]]:
    """Return the lists of components inside a component's config, with their paths.

    A single component is returned as a list of one.
    """
    found: List[Tuple[str, Sequence]] = []

    def search(value: Any, path: str) -> None:
        if isinstance(value, (list, tuple)):
            if any(isinstance(v, Mapping) and "type" in v for v in value):
                found.append((path, value))
                return
            for index, each in enumerate(value):
                search(each, f"{path}[{index}]")
        elif isinstance(value, Mapping):
            if "type" in value:
                found.append((path, [value]))
                return
            for key, each in value.items():
                search(each, f"{path}.{key}" if path else str(key))

    for key, value in config.items():
        if key != "type":
            search(value, str(key))
    return found


def nested_configs(config: Any, place: str) -> Iterator[Tuple[str, Mapping]]:
    """Yield a config and every mapping inside it, with their paths.

    Args:
        config: Config that is searched, through lists and tuples too.
        place: Its own path, such as ``'model'``.
    """
    if isinstance(config, Mapping):
        yield place, config
        for key, value in config.items():
            yield from nested_configs(value, f"{place}.{key}")
    elif isinstance(config, (list, tuple)):
        for index, value in enumerate(config):
            yield from nested_configs(value, f"{place}[{index}]")


def assign(config: Any, path: str, value: Any) -> None:
    """Set a value inside a config. Containers along the path are copied first.

    Args:
        config: Changed in place at the first key of the path only.
        path: Path as :func:`nested_components` or :func:`nested_configs` gives it.
        value: The new value.
    """
    keys: List[Union[int, str]] = [
        int(k) if k.isdigit() else k for k in re.findall(r"[^.\[\]]+", path)
    ]
    for key in keys[:-1]:
        config[key] = copy.copy(config[key])
        if isinstance(config[key], tuple):
            config[key] = list(config[key])
        config = config[key]
    config[keys[-1]] = value


def short(value: Any, limit: int = 60) -> str:
    """Return a short text of a value. Of a long list it shows both ends."""
    if isinstance(value, (list, tuple)) and len(value) > 4:
        ends: List[str] = [repr(value[0]), repr(value[1]), "...", repr(value[-1])]
        return f"[{', '.join(ends)}]"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
