"""A command's config: a file, or one of a library's own."""

from __future__ import annotations

import importlib.util
import os
import os.path as osp
from difflib import get_close_matches
from glob import glob
from typing import Any, Dict, Mapping, Optional, Tuple

from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope

from ..registry import drop_scope
from ..utils.config_types import scope_of
from ..utils.host_versions import HOSTS, install_command
from .errors import UserError, debugging, one_line

_EXAMPLES = {
    "mmdet": "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
    "mmpretrain": "mmpretrain::resnet/resnet50_8xb32_in1k.py",
    "mmseg": "mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py",
    "mms_plugin": "mms_plugin::resnet/resnet50_vbs_8xb128-600e_in1k.py",
}

_KINDS: Dict[str, Tuple[Any, str]] = {
    "train_dataloader": (Mapping, "a dict"),
    "default_hooks": (Mapping, "a dict"),
    "custom_imports": (Mapping, "a dict"),
    "custom_hooks": ((list, tuple), "a list"),
}
"""Settings that the commands read and change, with their kinds."""


def load_config(name: str, options: Optional[Mapping[str, Any]] = None) -> Config:
    """Load a config file, or a library's own config by ``library::path``.

    Args:
        name: Path of a file, or such as
            ``'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'``.
        options: Settings that override the config's, dotted keys.

    Raises:
        UserError: There is no such config, it does not parse, what it imports or the
            library of its scope is missing, the options do not fit, or a setting is of
            another kind than MMEngine takes.
    """
    try:
        if "::" in name:
            config = _library_config(name)
        elif not osp.exists(name):
            raise UserError(f"config {name} does not exist")
        elif osp.isdir(name):
            raise UserError(f"config {name} is a folder, not a file")
        else:
            config = Config.fromfile(name)
    except UserError:
        raise
    except Exception as error:
        if debugging():
            raise
        text = f"config {name} does not load: {one_line(error)}"
        if str(error).startswith("Failed to import custom modules"):
            text += (
                ", for custom_imports; if the module is your own, set PYTHONPATH to "
                "the folder that it lies in"
            )
        raise UserError(text) from error
    drop_scope(config)
    if options:
        try:
            config.merge_from_dict(dict(options))
        except Exception as error:
            if debugging():
                raise
            raise UserError(
                f"--cfg-options do not fit the config: {one_line(error)}"
            ) from error
    _check_kinds(config)
    scope = config.get("default_scope")
    if scope in [host.name for host in HOSTS]:
        _check_installed(scope, f"config {name} (default_scope={scope!r})")
    return config


def _check_kinds(config: Config) -> None:
    """Refuse settings of another kind than MMEngine's runner takes."""
    for name, (kinds, said) in _KINDS.items():
        value = config.get(name)
        if value is not None and not isinstance(value, kinds):
            raise UserError(f"{name} must be {said}, but got {value!r}")


def enter_scope(config: Optional[Config]) -> None:
    """Make the config's ``default_scope`` the current one, else MMEngine's."""
    init_default_scope(scope_of(config or {}))


def _check_installed(library: str, user: str) -> None:
    if importlib.util.find_spec(library) is None:
        if library not in [host.name for host in HOSTS]:
            meant = get_close_matches(library, _EXAMPLES, 1)
            guess = f"; did you mean {meant[0]}?" if meant else ""
            raise UserError(
                f"{user}: {library} is not installed, and none of "
                f"{', '.join(sorted(_EXAMPLES))}{guess}"
            )
        raise UserError(
            f"{user} needs {library}, not installed; run: {install_command(library)}"
        )


def _library_config(name: str) -> Config:
    library, _, path = name.partition("::")
    if not library.isidentifier() or not path:
        raise UserError(f"config {name}: write library::folder/name.py")
    # MMEngine would install a missing library by itself.
    _check_installed(library, f"config {name}")
    if not path.endswith((".py", ".yml", ".yaml", ".json")):
        name += ".py"
    try:
        return get_config(name)
    except FileNotFoundError as error:
        text = f"{library} has no config {path}"
        meant = get_close_matches(path, library_configs(library), 1, cutoff=0.8)
        if meant:
            text += f"; did you mean {library}::{meant[0]}?"
        elif library in _EXAMPLES:
            text += f"; {_EXAMPLES[library]} is one"
        raise UserError(text) from error


def library_configs(library: str, folder: str = ".") -> Dict[str, str]:
    """Return the config files of an installed library.

    Args:
        library: Its name.
        folder: Folder of its configs to look in. Defaults to all.

    Returns:
        dict: Files by their paths in the configs folder, sorted; empty if there is
        no such library or folder.
    """
    spec = importlib.util.find_spec(library)
    found: Dict[str, str] = {}
    for location in (spec and spec.submodule_search_locations) or ():
        root = osp.join(location, ".mim", "configs")
        for file in glob(osp.join(root, folder, "**", "*.py"), recursive=True):
            found[osp.relpath(file, root).replace(os.sep, "/")] = osp.normpath(file)
    return dict(sorted(found.items()))
