"""What the commands under ``tools/`` share: configs, errors, output.

Bad input ends a command with one line on standard error and exit code 2. A
fault in a run that has begun keeps its traceback, and so does every fault where
the environment variable ``MMS_DEBUG`` is set.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import os.path as osp
import re
import sys
import traceback
from contextlib import contextmanager
from datetime import timedelta
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    NoReturn,
    Optional,
    Tuple,
)

import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import all_gather_object
from mmengine.hooks import CheckpointHook, Hook
from mmengine.hub import get_config
from mmengine.runner import Runner

from .checkpoint import check_by_default
from .datasets.named_pipeline import name_files
from .faults import explain_fault
from .fileio import BACKEND_NAME
from .host_versions import HOSTS
from .resuming import (
    UnreadableCheckpointError,
    checkpoint_progress,
    latest_checkpoint,
    unreadable_reason,
)

__all__ = [
    "ArgumentParser",
    "RunFault",
    "UserError",
    "add_common_arguments",
    "add_config_arguments",
    "add_dry_run",
    "add_options_argument",
    "add_recipe_arguments",
    "apply_recipe_arguments",
    "build_runner",
    "check_checkpoint",
    "check_out",
    "check_ranks_resume_alike",
    "choose_checkpoint_to_resume",
    "enable_amp",
    "is_main_process",
    "json_on_stdout",
    "load_config",
    "loading_checkpoint",
    "make_folder",
    "one_line",
    "plain",
    "prepare_launcher",
    "run_command",
    "run_started",
    "save_atomically",
    "set_dataloader_defaults",
    "set_work_dir",
    "setting_up",
    "size_argument",
    "size_text",
    "whole_number",
]

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


class UserError(Exception):
    """Bad input on a command's line; its text is shown as one line."""

    exit_code = 2


class RunFault(UserError):
    """What ended a run that had begun; its text is shown as one line."""

    exit_code = 1


def one_line(error: BaseException) -> str:
    """The innermost cause of an error in one line."""
    cause: BaseException = error
    # A chain tells first what went wrong and last who noticed.
    while True:
        below = cause.__cause__ or (
            None if cause.__suppress_context__ else cause.__context__
        )
        # KeyErrors come from registries and lookups that tell more above.
        if below is None or not isinstance(below, ImportError):
            break
        cause = below
    text = str(cause.args[0]) if isinstance(cause, KeyError) and cause.args else ""
    text = text or str(cause)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any(line.startswith("Original Traceback") for line in lines):
        lines = lines[-1:]  # from a data loader's worker
    text = " ".join(lines)
    name = type(cause).__name__
    if not text:
        return name
    if isinstance(cause, (ValueError, UserError, ImportError, OSError)):
        return text
    return text if text.startswith(name) else f"{name}: {text}"


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (--help lists the arguments)\n")


class _ConfigOptions(DictAction):
    """MMEngine's ``k=v`` action, with an error that shows the bad option."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: Optional[str] = None,
    ) -> None:
        options: Dict[str, Any] = {}
        for value in values:
            key, equals, text = value.partition("=")
            if not equals or not key.strip(". "):
                parser.error(f"{option_string} takes key=value pairs, not {value!r}")
            try:
                options[key] = self._parse_iterable(text)
            except (AssertionError, ValueError, SyntaxError, IndexError):
                parser.error(
                    f"{option_string}: the value of {value!r} does not parse; lists "
                    'are written key="[a,b]" or key=a,b'
                )
        previous = getattr(namespace, self.dest, None) or {}
        setattr(namespace, self.dest, {**previous, **options})


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The config, and settings that override it."""
    parser.add_argument(
        "config",
        help="config file, or one of a library's own: mmdet::<folder>/<name>.py, "
        "mmpretrain::<folder>/<name>.py",
    )
    add_options_argument(
        parser,
        "--cfg-options",
        'settings that override the config\'s, such as key="[a,b]" or a.b=1',
    )


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of every command that builds a runner from a config."""
    add_config_arguments(parser)
    parser.add_argument(
        "--work-dir",
        help="folder for logs and checkpoints (default: the config's, else "
        "work_dirs/<config name>)",
    )
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none")
    # torch.distributed.launch passes it; torchrun sets the variable alone.
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS
    )


def add_options_argument(
    parser: argparse.ArgumentParser, flag: str, description: str
) -> None:
    """An argument of ``KEY=VALUE`` pairs, a dict by dotted keys; ``None`` without."""
    parser.add_argument(
        flag,
        nargs="+",
        action=_ConfigOptions,
        metavar="KEY=VALUE",
        help=description,
    )


def size_argument(text: str) -> Tuple[int, int]:
    """``'224'`` or ``'224x320'`` as ``(height, width)``, for ``type=``."""
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"a size is a side in pixels or HEIGHTxWIDTH, not {text!r}"
        )
    return int(match[1]), int(match[2] or match[1])


def size_text(size: Tuple[int, int]) -> str:
    """``(height, width)`` as :func:`size_argument` reads it."""
    return f"{size[0]}x{size[1]}"


def whole_number(least: int) -> Callable[[str], int]:
    """Reads a whole number of at least ``least``, for ``type=``."""

    def parse(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"must be a whole number of at least {least}, not {text!r}"
            )
        return int(text)

    return parse


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """``--recipe`` and ``--recipe-options``."""
    from .recipes import RECIPES

    parser.add_argument(
        "--recipe",
        metavar="R",
        help="train the config with a method of this package: "
        + ", ".join(sorted(RECIPES))
        + "; several are joined by +",
    )
    add_options_argument(
        parser,
        "--recipe-options",
        'arguments of the recipe, such as sizes="[128,160,192]" base_size=160',
    )


def apply_recipe_arguments(config: Config, args: argparse.Namespace) -> Config:
    """The config with the recipes of ``--recipe``; says what they change.

    Raises:
        UserError: There is no such recipe or option, or the config cannot be
            converted.
    """
    from .recipes import apply_recipes

    if args.recipe is None:
        if args.recipe_options is not None:
            raise UserError("--recipe-options needs --recipe")
        return config
    lines: List[str] = []
    try:
        config = apply_recipes(
            config,
            args.recipe,
            _nested(args.recipe_options or {}),
            lambda name, line: lines.append(f"--recipe {name}: {line}"),
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"--recipe {args.recipe}: {error}") from error
    if is_main_process():
        print("\n".join(lines), file=sys.stderr)
    return config


def _nested(options: Dict[str, Any]) -> Dict[str, Any]:
    """``sizes.min=128 sizes.max=320`` is ``sizes=dict(min=128, max=320)``."""
    nested: Dict[str, Any] = {}
    for key, value in options.items():
        outer, dot, inner = key.partition(".")
        if not dot:
            nested[key] = value
        elif isinstance(nested.setdefault(outer, {}), dict):
            nested[outer][inner] = value
        else:
            raise UserError(f"--recipe-options has {outer} twice, {key}={value}")
    return nested


def load_config(name: str, options: Optional[Mapping[str, Any]] = None) -> Config:
    """Load a config file, or a library's own config by ``library::path``.

    Args:
        name: Path of a file, or such as
            ``'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'``.
        options: Settings that override the config's, dotted keys.

    Raises:
        UserError: There is no such config, it does not parse, what it imports
            is missing, or the options do not fit.
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
        raise UserError(f"config {name} does not load: {one_line(error)}") from error
    if options:
        try:
            config.merge_from_dict(dict(options))
        except Exception as error:
            if debugging():
                raise
            raise UserError(
                f"--cfg-options do not fit the config: {one_line(error)}"
            ) from error
    return config


def _library_config(name: str) -> Config:
    library, _, path = name.partition("::")
    if not library.isidentifier() or not path:
        raise UserError(f"config {name}: write library::folder/name.py")
    # MMEngine would install a missing library by itself.
    if importlib.util.find_spec(library) is None:
        commands = [host.pip_command for host in HOSTS if host.name == library]
        command = commands[0] if commands else f"pip install {library}"
        raise UserError(f"config {name} needs {library}, not installed; run: {command}")
    if not path.endswith((".py", ".yml", ".yaml", ".json")):
        name += ".py"
    try:
        return get_config(name)
    except FileNotFoundError as error:
        raise UserError(
            f"{library} has no config {path}; its configs are listed in its "
            "configs folder, such as "
            + (
                "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"
                if library == "mmdet"
                else "mmpretrain::resnet/resnet50_8xb32_in1k.py"
            )
        ) from error


def check_checkpoint(name: str, argument: str = "checkpoint") -> None:
    """Refuse a checkpoint file that is not there; addresses are not looked up.

    Raises:
        UserError: There is no such file.
    """
    if "://" in name:
        return
    path = osp.expanduser(name)
    if not osp.exists(path):
        raise UserError(f"{argument} {name} does not exist")
    if not osp.isfile(path):
        raise UserError(f"{argument} {name} is not a file")


def save_atomically(config: Config) -> None:
    """Let MMEngine's ``CheckpointHook`` be this package's ``AtomicCheckpointHook``.

    Where the config has it, by name or by MMEngine's default, for a local disk.
    Another hook, or another file backend, is the user's own choice and stays.
    """
    from .recipes.config_edits import add_plugin_import

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


def choose_checkpoint_to_resume(config: Config, resume: Optional[str]) -> None:
    """Set ``config.load_from`` to a checkpoint that can be gone on from.

    Args:
        config: With its ``work_dir`` set; ``resume`` and ``load_from`` are changed.
        resume: A file; ``'auto'``: what ``last_checkpoint`` of the work dir names, or,
            with a warning, the newest whole checkpoint there; if there is none yet,
            the training starts as without. ``None``: as the config has it.

    Raises:
        UserError: The file cannot be read, or the work dir has checkpoints, but none
            that can be.
    """
    if resume is None and not config.get("resume"):
        return
    name = config.get("load_from") if resume is None else resume
    config.resume = True
    if name not in (None, "auto"):
        config.load_from = name
        if "://" not in str(name):
            _check_resume(str(name))
        return
    folder, templates = _checkpoints_of(config)
    latest = latest_checkpoint(config.work_dir, folder, templates)
    passed_over = "; ".join(f"{path}: {why}" for path, why in latest.passed_over)
    if latest.path is None and latest.passed_over:
        raise UserError(
            f"--resume: no checkpoint of {config.work_dir} can be read "
            f"({passed_over}); name another one with --resume CKPT, or start anew "
            "without --resume"
        )
    if latest.path is None:
        text = f"no checkpoint in {config.work_dir} yet: training starts anew"
        config.resume = False
    else:
        config.load_from = latest.path
        text = f"going on from {latest.path}, the newest that can be read"
        text += f" ({passed_over})" if passed_over else ""
    if latest.path is None or latest.path != latest.named:
        _warn(f"--resume: {text}")


def check_ranks_resume_alike(config: Config) -> None:
    """Refuse ranks that would go on from different checkpoints.

    Each has looked for itself, before there was a process group. Called by all ranks.

    Raises:
        UserError: On every rank: they have found different ones.
    """
    own = config.get("load_from") if config.get("resume") else None
    found = all_gather_object(own)
    for rank, other in enumerate(found):
        if other != found[0]:
            raise UserError(
                f"--resume: rank 0 would go on from {found[0] or 'no checkpoint'}, "
                f"rank {rank} from {other or 'no checkpoint'}; --work-dir must be a "
                "folder that all nodes share"
            )


def _warn(text: str) -> None:
    if is_main_process():
        print(f"{osp.basename(sys.argv[0])}: warning: {text}", file=sys.stderr)


def _check_resume(name: str) -> None:
    if osp.isdir(name):  # DeepSpeed's checkpoints are folders
        return
    try:
        checkpoint_progress(name)
    except UnreadableCheckpointError as error:
        raise UserError(f"--resume {name} cannot be gone on from: {error}") from None


def _checkpoints_of(config: Config) -> Tuple[Optional[str], List[str]]:
    """Where the config's checkpoint hook writes, and under which names."""
    hook = (config.get("default_hooks") or {}).get("checkpoint") or {}
    templates = ["epoch_{}.pth", "iter_{}.pth"]
    if hook.get("filename_tmpl"):
        templates.insert(0, str(hook["filename_tmpl"]))
    out_dir = hook.get("out_dir")
    if not out_dir or str(out_dir) == config.work_dir:
        return None, templates
    # CheckpointHook's own rule.
    return osp.join(str(out_dir), osp.basename(config.work_dir.rstrip("/"))), templates


def set_work_dir(config: Config, work_dir: Optional[str]) -> None:
    """Command line before config before ``work_dirs/<config name>``; made here.

    Raises:
        UserError: The folder cannot be made or written to.
    """
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get("work_dir") is None:
        stem = osp.splitext(osp.basename(config.filename))[0]
        config.work_dir = osp.join("work_dirs", stem)
    make_folder(config.work_dir, "--work-dir")


def make_folder(folder: str, argument: str) -> None:
    """Make a folder that is written to.

    Raises:
        UserError: It cannot be made or written to; names the argument.
    """
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(f"{argument} {folder} cannot be made: {error.strerror}") from (
            error
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{argument} {folder} is not writable")


def check_out(out: str, endings: Tuple[str, ...]) -> None:
    """Refuse a file ``--out`` of another kind, or in a folder that takes none.

    Raises:
        UserError: It ends in none of ``endings``, or its folder is not writable.
    """
    if not out.endswith(endings):
        raise UserError(f"--out {out} must end in {' or '.join(endings)}")
    folder = osp.dirname(osp.abspath(out))
    if not osp.isdir(folder) or not os.access(folder, os.W_OK):
        raise UserError(f"--out {out}: the folder {folder} is not writable")


def has_accelerator() -> bool:
    """Whether MMEngine would train on something else than the CPU."""
    from mmengine.device import get_device

    return str(get_device()) != "cpu"


def enable_amp(config: Config) -> None:
    """Turn the config's optimizer wrapper into its mixed-precision one.

    ``OptimWrapper`` becomes ``AmpOptimWrapper`` (on the CPU, which that one
    refuses, ``BFloat16OptimWrapper``); ``AGVMOptimWrapper`` becomes
    ``AmpAGVMOptimWrapper``, on the CPU ``BFloat16AGVMOptimWrapper``.

    Raises:
        UserError: The wrapper is of another type.
    """
    wrapper = config.get("optim_wrapper")
    if not isinstance(wrapper, ConfigDict):
        raise UserError("--amp needs a config with optim_wrapper")
    name = str(wrapper.get("type", "OptimWrapper")).rpartition(".")[2]
    if name in ("AGVMOptimWrapper", "AmpAGVMOptimWrapper", "BFloat16AGVMOptimWrapper"):
        if has_accelerator():
            wrapper.type = "AmpAGVMOptimWrapper"
        else:
            wrapper.type = "BFloat16AGVMOptimWrapper"
            for key in ("loss_scale", "dtype", "use_fsdp"):
                wrapper.pop(key, None)
    elif name in ("OptimWrapper", "AmpOptimWrapper", "BFloat16OptimWrapper"):
        if has_accelerator():
            if name != "BFloat16OptimWrapper":
                wrapper.type = "AmpOptimWrapper"
                wrapper.setdefault("loss_scale", "dynamic")
        else:
            wrapper.type = "BFloat16OptimWrapper"
            for key in ("loss_scale", "dtype", "use_fsdp"):
                wrapper.pop(key, None)
    else:
        raise UserError(
            f"--amp knows OptimWrapper and AGVMOptimWrapper, not optim_wrapper.type "
            f"{name}; choose that library's own mixed-precision wrapper in the config"
        )


def add_dry_run(config: Config) -> None:
    """Let a training try every size before it starts, if it does not already."""
    from .recipes.config_edits import add_plugin_import

    hooks = list(config.get("custom_hooks") or [])
    for hook in hooks:
        kind = hook.get("type") if isinstance(hook, Mapping) else type(hook)
        if getattr(kind, "__name__", kind) == "DryRunHook":
            return
    config.custom_hooks = [*hooks, dict(type="DryRunHook")]
    # The config that is written to the work dir must build anywhere.
    add_plugin_import(config)


def set_dataloader_defaults(config: Config) -> None:
    """What mmpretrain's own tools add to a config, for mmpretrain's configs.

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


def prepare_launcher(config: Config, launcher: str, local_rank: int = 0) -> None:
    """Set the launcher; without an accelerator, join the ranks by gloo.

    Raises:
        UserError: The launcher's environment variables are not there.
    """
    os.environ.setdefault("LOCAL_RANK", str(local_rank))
    config.launcher = launcher
    needed = {"pytorch": "RANK", "slurm": "SLURM_PROCID", "mpi": "OMPI_COMM_WORLD_RANK"}
    if launcher == "none":
        return
    if needed[launcher] not in os.environ:
        raise UserError(
            f"--launcher {launcher} needs the variable {needed[launcher]}, which that "
            "launcher sets; use tools/dist_train.sh, tools/dist_test.sh or "
            "tools/slurm_train.sh"
        )
    if launcher == "pytorch" and not has_accelerator():
        # MMEngine's own set-up asks for a CUDA device in any case.
        if not torch.distributed.is_initialized():
            seconds = _dist_timeout(config)
            options: Dict[str, Any] = {}
            if seconds is not None:
                options = dict(timeout=timedelta(seconds=seconds))
            torch.distributed.init_process_group("gloo", **options)
        if config.get("model_wrapper_cfg") is None:
            config.model_wrapper_cfg = dict(
                type="MMDistributedDataParallel",
                broadcast_buffers=False,
                find_unused_parameters=config.get("find_unused_parameters", False),
            )
        config.model_wrapper_cfg.setdefault("device_ids", None)


def _dist_timeout(config: Config) -> Optional[float]:
    """MMEngine's ``env_cfg.dist_cfg.timeout``, in seconds.

    Raises:
        UserError: It is no number above 0.
    """
    dist_cfg = (config.get("env_cfg") or {}).get("dist_cfg") or {}
    seconds = dist_cfg.get("timeout")
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise UserError(f"env_cfg.dist_cfg.timeout={seconds!r} must be in seconds")
    if not 0 < seconds < math.inf:
        raise UserError(f"env_cfg.dist_cfg.timeout={seconds!r} must be above 0")
    return float(seconds)


def is_main_process() -> bool:
    """Whether a launcher started this process as the first, or there is none."""
    names = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
    return all(os.environ.get(name, "0") == "0" for name in names)


def build_runner(config: Config) -> Runner:
    """The config's runner: its ``runner_type``, or MMEngine's."""
    if "runner_type" in config:
        from mmengine.registry import RUNNERS

        return RUNNERS.build(config)
    return Runner.from_cfg(config)


@contextmanager
def setting_up(what: str) -> Iterator[None]:
    """Errors while a run is set up are the user's input: one line, exit code 2."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if debugging():
            raise
        raise UserError(f"{what}: {one_line(error)}") from error


class _RunNotes(Hook):
    """Notes how far a run has come, and lets errors of its data name the file."""

    def __init__(self) -> None:
        self.begun = self.training = False

    def before_run(self, runner: Runner) -> None:
        # Not the properties, which would build the loops.
        for kind in ("train", "val", "test"):
            loop = getattr(runner, f"_{kind}_loop", None)
            dataset = getattr(getattr(loop, "dataloader", None), "dataset", None)
            if dataset is not None:
                name_files(dataset)

    def before_train_iter(self, *args: Any, **kwargs: Any) -> None:
        self.begun = self.training = True

    def before_val_iter(self, *args: Any, **kwargs: Any) -> None:
        self.begun = True

    before_test_iter = before_val_iter


@contextmanager
def run_started(runner: Runner) -> Iterator[None]:
    """Errors before the first iteration of a run are the user's input.

    Data sets, samplers, hooks and optimizers are built and checked only inside
    ``runner.train()``. What fails there is shown in one line. What fails later ends
    with exit code 1: a fault from outside (a full disk, a killed worker, a lost rank)
    with one line, a sample that cannot be made with one below its traceback, and
    everything else with its traceback.
    """
    note = _RunNotes()
    runner.register_hook(note)
    try:
        yield
    except Exception as error:
        if debugging():
            raise
        fault = explain_fault(error)
        if fault is not None and (note.begun or fault.outside):
            text = fault.text
            if note.training:
                text += "; then go on from the last checkpoint with --resume"
            if fault.outside:
                raise RunFault(text) from error
            traceback.print_exc()
            raise RunFault(text) from None
        if note.begun:
            raise
        load_from = runner.cfg.get("load_from")
        if load_from:
            _raise_if_unreadable(str(load_from), error)
        raise UserError(one_line(error)) from error


@contextmanager
def loading_checkpoint(name: str) -> Iterator[None]:
    """Errors while a checkpoint is loaded name it, in one line; exit code 2."""
    with setting_up(f"checkpoint {name} does not load"):
        try:
            yield
        except Exception as error:
            if not debugging():
                _raise_if_unreadable(name, error)
            raise


def _raise_if_unreadable(name: str, error: Exception) -> None:
    """Say what is wrong with a checkpoint's file: torch and pickle do not name it."""
    reason = None if "://" in name else unreadable_reason(name)
    if reason is not None:
        raise UserError(f"checkpoint {name} does not load: {reason}") from error


def debugging() -> bool:
    """Whether every fault shall keep its traceback."""
    return bool(os.environ.get("MMS_DEBUG"))


@contextmanager
def json_on_stdout(enabled: bool) -> Iterator[Callable[[Any], None]]:
    """Keep standard output for one JSON document.

    Args:
        enabled: Whether to; where not, nothing is moved and nothing printed.

    Yields:
        A function that prints its argument as JSON. Everything else that is
        written to standard output meanwhile, by C code too, goes to standard
        error.
    """
    if not enabled:
        yield lambda document: None
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)

    def emit(document: Any) -> None:
        text = json.dumps(plain(document), indent=2, allow_nan=False) + "\n"
        sys.stdout.flush()
        with os.fdopen(os.dup(kept), "w") as stream:
            stream.write(text)

    try:
        yield emit
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def plain(value: Any) -> Any:
    """NumPy and torch numbers as Python's; NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def run_command(main: Callable[[List[str]], None]) -> NoReturn:
    """Run a command's ``main`` on the command line's arguments and exit.

    Exit code 0; 2 after bad input and 1 after a known fault of a run, with one line
    on standard error.
    """
    check_by_default()
    try:
        main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; nothing is left to be flushed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _leave(0)
    except UserError as error:
        if debugging():
            raise
        text = " ".join(str(error).split())
        if error.__cause__ is not None:
            text += " (MMS_DEBUG=1 shows the traceback)"
        print(f"{osp.basename(sys.argv[0])}: error: {text}", file=sys.stderr)
        _leave(error.exit_code)
    except KeyboardInterrupt:
        print(f"{osp.basename(sys.argv[0])}: interrupted", file=sys.stderr)
        _leave(130)
    _leave(0)


def _leave(code: int) -> NoReturn:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # A rank that fails must not wait for the others.
        if code == 0:
            torch.distributed.destroy_process_group()
        else:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)
