"""Change a config for a command: its wrapper, hooks and loaders."""

from __future__ import annotations

from typing import Mapping

from mmengine.config import Config, ConfigDict
from mmengine.hooks import CheckpointHook

from ..agvm.wrapper_names import PLAIN, WITH_AGVM
from ..checkpoints.atomic_local_backend import BACKEND_NAME
from ..recipes.config_edits import add_plugin_import
from ..utils.config_types import class_name
from .errors import UserError
from .launching import has_accelerator


def enable_amp(config: Config) -> None:
    """Turn the config's optimizer wrapper into its mixed-precision one.

    ``OptimWrapper`` becomes ``AmpOptimWrapper`` (on the CPU, which that one
    refuses, ``BFloat16OptimWrapper``); ``AGVMOptimWrapper`` becomes
    ``AmpAGVMOptimWrapper``, on the CPU ``BFloat16AGVMOptimWrapper``. There detectors
    with RoI heads fail: mmcv's NMS needs float32.

    Raises:
        UserError: The wrapper is of another type.
    """
    wrapper = config.get("optim_wrapper")
    if not isinstance(wrapper, ConfigDict):
        raise UserError("--amp needs a config with optim_wrapper")
    name = class_name(wrapper.get("type", "OptimWrapper"))
    if name not in PLAIN + WITH_AGVM:
        raise UserError(
            f"--amp knows OptimWrapper and AGVMOptimWrapper, not optim_wrapper.type "
            f"{name}; choose that library's own mixed-precision wrapper in the config"
        )
    _, amp, bfloat16 = PLAIN if name in PLAIN else WITH_AGVM
    if not has_accelerator():
        wrapper.type = bfloat16
        for key in ("loss_scale", "dtype", "use_fsdp"):
            wrapper.pop(key, None)
        if name in PLAIN:
            add_plugin_import(config)
    elif name != bfloat16:
        wrapper.type = amp
        if name in PLAIN:
            wrapper.setdefault("loss_scale", "dynamic")


def add_dry_run(config: Config) -> None:
    """Let a training try every size before it starts, if it does not already."""
    hooks = list(config.get("custom_hooks") or [])
    for hook in hooks:
        kind = hook.get("type") if isinstance(hook, Mapping) else type(hook)
        if class_name(kind) == "DryRunHook":
            return
    config.custom_hooks = [*hooks, dict(type="DryRunHook")]
    # The config that is written to the work dir must build anywhere.
    add_plugin_import(config)


def save_atomically(config: Config) -> None:
    """Let MMEngine's ``CheckpointHook`` be this package's ``AtomicCheckpointHook``.

    Where the config has it, by name or by MMEngine's default, for a local disk.
    Another hook, or another file backend, is the user's own choice and stays.
    """
    hooks = config.get("default_hooks")
    if hooks is None or "checkpoint" not in hooks:
        default = dict(checkpoint=dict(type="CheckpointHook", interval=1))
        config.default_hooks = dict(hooks or {}, **default)
    custom = config.get("custom_hooks") or []
    for hook in [config.default_hooks.get("checkpoint"), *custom]:
        if isinstance(hook, ConfigDict) and _is_plain_checkpoint_hook(hook):
            hook["type"] = "AtomicCheckpointHook"
            # The config that is written to the work dir must build anywhere.
            add_plugin_import(config)


def _is_plain_checkpoint_hook(hook: ConfigDict) -> bool:
    kind = hook.get("type")
    if isinstance(kind, str):
        library, _, name = kind.rpartition(".")
        own = name == "CheckpointHook" and library.split(".")[0] in ("", "mmengine")
    else:
        own = kind is CheckpointHook
    backend = (hook.get("backend_args") or {}).get("backend", "local")
    return (
        own
        and hook.get("file_client_args") is None
        and backend in ("local", BACKEND_NAME)
        and "://" not in str(hook.get("out_dir") or "")
    )


def set_dataloader_defaults(config: Config) -> None:
    """Add what mmpretrain's own tools add to a config of mmpretrain.

    Its models take stacked batches, which its configs leave to its tools.
    """
    if config.get("default_scope") != "mmpretrain":
        return
    for field in ("train_dataloader", "val_dataloader", "test_dataloader"):
        loader = config.get(field)
        if not isinstance(loader, ConfigDict):
            continue
        loader.setdefault("collate_fn", dict(type="default_collate"))
        loader.setdefault("pin_memory", has_accelerator())
        loader.setdefault("persistent_workers", loader.get("num_workers", 0) > 0)
