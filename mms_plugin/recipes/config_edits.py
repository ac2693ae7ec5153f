"""Reading and changing configs: dicts, MMEngine's ``Config``, text or lazy imports."""

from __future__ import annotations

import copy
import re
from typing import (
    Any,
    Callable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Union,
)

__all__ = [
    "Kind",
    "RecipeError",
    "Report",
    "add_plugin_import",
    "assign",
    "kind_of",
    "nested_components",
    "short",
]

Report = Callable[[str], None]
"""Takes one line for each change that a recipe makes."""


class RecipeError(ValueError):
    """A config that a recipe cannot convert.

    Attributes:
        place: Where in the config, such as ``'train_dataloader.dataset.pipeline[2]'``.
        reason: Why not, and what would help.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class Kind(NamedTuple):
    """What a config's ``type`` names.

    Attributes:
        library: The package it comes from or is looked up in; ``''`` if none is named.
        name: Name of the class.
    """

    library: str
    name: str


def kind_of(config: Mapping, scope: str = "") -> Kind:
    """What ``config['type']`` names: a registry's name or the object itself.

    Args:
        config: A component's config. Its own ``_scope_`` comes before ``scope``.
        scope: The scope that names are looked up in.
    """
    kind = config.get("type")
    library = config.get("_scope_") or scope
    if kind is None:
        return Kind(library, "")
    if not isinstance(kind, str):  # a class: from a lazy-import config, or Python
        module = getattr(kind, "__module__", "")
        return Kind(module.partition(".")[0], getattr(kind, "__name__", repr(kind)))
    if "/" in kind:  # mmpretrain's 'torchvision/Resize'
        library, _, kind = kind.rpartition("/")
    if "." in kind:
        library = kind.partition(".")[0]
    return Kind(library, kind.rpartition(".")[2])


def add_plugin_import(config: Any, report: Optional[Report] = None) -> None:
    """Let ``custom_imports`` of a config name ``mms_plugin``, beside what it names."""
    imports = config.get("custom_imports") or dict(imports=[])
    names: Any = imports["imports"]
    names = [names] if isinstance(names, str) else list(names)
    if "mms_plugin" not in names:
        names.append("mms_plugin")
        if report is not None:
            report("custom_imports: mms_plugin is added")
    config["custom_imports"] = dict(imports=names, allow_failed_imports=False)


def nested_components(config: Mapping) -> List[Tuple[str, Sequence]]:
    """The lists of components inside a component's config, with their paths in it.

    A single one is given as a list of one.
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


def assign(config: Any, path: str, value: Any) -> None:
    """Set a value inside a config, copying what lies on the way to it.

    Args:
        config: Changed at the path's first key alone; what lies deeper is copied.
        path: As of :func:`nested_components`.
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
    """A value for a report's line; long lists keep their ends."""
    if isinstance(value, (list, tuple)) and len(value) > 4:
        ends: List[str] = [repr(value[0]), repr(value[1]), "...", repr(value[-1])]
        return f"[{', '.join(ends)}]"
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
