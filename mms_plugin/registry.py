"""The scope ``mms_plugin``, which ``_base_ = 'mms_plugin::...'`` needs.

MMEngine finds the configs of the libraries that it knows by name, and marks what a
config inherits from one with the library's scope. This package is no such library: its
components are in MMEngine's root registries, and each of its configs is written for
the scope of mmdet, mmpretrain or another library. So the scope ``mms_plugin`` stands
for the library's scope around it.
"""

from __future__ import annotations

from typing import Any, Optional, Type

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import DefaultScope, Registry, root

__all__ = ["SCOPE", "LibraryRegistry", "drop_scope", "library_scope", "register_scope"]

SCOPE = "mms_plugin"


class LibraryRegistry(Registry):
    """Registry of the scope ``mms_plugin``: looks names up in the library's scope."""

    def get(self, key: str) -> Optional[Type]:
        """Return what the library's scope has under a name; None if nothing."""
        library = library_scope() or "mmengine"
        with self.root.switch_scope_and_registry(library) as registry:
            return registry.get(key)


def library_scope() -> Optional[str]:
    """Return the innermost default scope other than ``mms_plugin``, or None."""
    # MMEngine has no public way to get at the scopes around the current one.
    for scope in reversed(DefaultScope._instance_dict.values()):
        if scope.scope_name != SCOPE:
            return scope.scope_name
    return None


def register_scope() -> None:
    """Make ``mms_plugin`` known to MMEngine as a library with configs."""
    # MMEngine looks for `.mim` beside this module. By the name of a distribution it
    # would miss editable installs and checkouts.
    MODULE2PACKAGE[SCOPE] = "mms_plugin.version"
    for registry in vars(root).values():
        if isinstance(registry, Registry) and SCOPE not in registry.children:
            LibraryRegistry(registry.name, parent=registry, scope=SCOPE)


def drop_scope(config: Any) -> None:
    """Delete ``_scope_='mms_plugin'`` everywhere in a config, in place.

    Code that reads a config without building it then finds only the libraries' scopes.

    Args:
        config: A config, as a dict or an MMEngine ``Config``.
    """
    if isinstance(config, Config):
        # MMEngine has no public way to get at the dict itself: to_dict() copies it.
        config = config._cfg_dict
    if isinstance(config, dict):
        if config.get("_scope_") == SCOPE:
            del config["_scope_"]
        # Not ConfigDict's own method, which imports what is imported lazily.
        config = dict.values(config)
    elif not isinstance(config, (list, tuple)):
        return
    for value in config:
        drop_scope(value)
