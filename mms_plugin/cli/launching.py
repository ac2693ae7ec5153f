"""One process or many: launchers, ranks, the device."""

from __future__ import annotations

import gc
import math
import os
import os.path as osp
import sys
from datetime import timedelta
from typing import Any, Dict, Optional

import torch
from mmengine.config import Config

from ..utils.validation import is_number
from .errors import UserError, setting_up

LAUNCHERS = ("none", "pytorch", "slurm", "mpi")

# Variables in which the launchers give a process its rank.
_RANKS = {"pytorch": "RANK", "slurm": "SLURM_PROCID", "mpi": "OMPI_COMM_WORLD_RANK"}


def prepare_launcher(config: Config, launcher: str, local_rank: int = 0) -> None:
    """Set the launcher; without an accelerator, join the ranks by gloo.

    Raises:
        UserError: The launcher's environment variables are not there.
    """
    os.environ.setdefault("LOCAL_RANK", str(local_rank))
    config.launcher = launcher
    if launcher == "none":
        return
    if _RANKS[launcher] not in os.environ:
        raise UserError(
            f"--launcher {launcher} needs the variable {_RANKS[launcher]}, which that "
            "launcher sets; use tools/dist_train.sh, tools/dist_test.sh, "
            "tools/slurm_train.sh or torchrun -m mms_plugin"
        )
    if launcher == "pytorch" and not has_accelerator():
        # MMEngine's own set-up asks for a CUDA device in any case.
        if not torch.distributed.is_initialized():
            seconds = _dist_timeout(config)
            options: Dict[str, Any] = {}
            if seconds is not None:
                options = dict(timeout=timedelta(seconds=seconds))
            with setting_up("--launcher pytorch: the processes cannot be joined"):
                torch.distributed.init_process_group("gloo", **options)
        if config.get("model_wrapper_cfg") is None:
            config.model_wrapper_cfg = dict(
                type="MMDistributedDataParallel",
                broadcast_buffers=False,
                find_unused_parameters=config.get("find_unused_parameters", False),
            )
        config.model_wrapper_cfg.setdefault("device_ids", None)
        if config.pop("sync_bn", None) is not None and is_main_process():
            print(
                "sync_bn does not run on the CPU: batch norm stays per rank",
                file=sys.stderr,
            )


def launched_world_size(launcher: str) -> int:
    """Return how many ranks a launcher has started; 1 without one."""
    names = {
        "pytorch": "WORLD_SIZE",
        "slurm": "SLURM_NTASKS",
        "mpi": "OMPI_COMM_WORLD_SIZE",
    }
    text = os.environ.get(names.get(launcher, ""), "1")
    return int(text) if text.isdigit() and int(text) else 1


def leave_process_group() -> None:
    """Leave the other ranks, once the runner is out of scope.

    A runner holds the group in reference cycles. If these are collected only when the
    interpreter exits, gloo's threads still run and sometimes abort a finished process:
    https://github.com/pytorch/pytorch/pull/179291
    """
    gc.collect()
    torch.distributed.destroy_process_group()


def _dist_timeout(config: Config) -> Optional[float]:
    """Return MMEngine's ``env_cfg.dist_cfg.timeout``, in seconds.

    Raises:
        UserError: It is no number above 0.
    """
    dist_cfg = (config.get("env_cfg") or {}).get("dist_cfg") or {}
    seconds = dist_cfg.get("timeout")
    if seconds is None:
        return None
    if not is_number(seconds):
        raise UserError(f"env_cfg.dist_cfg.timeout={seconds!r} must be in seconds")
    if not 0 < seconds < math.inf:
        raise UserError(f"env_cfg.dist_cfg.timeout={seconds!r} must be above 0")
    return float(seconds)


def is_main_process() -> bool:
    """Return whether a launcher started this process as the first, or there is none."""
    return all(os.environ.get(name, "0") == "0" for name in _RANKS.values())


def warn(text: str) -> None:
    """Print a warning, on the first process only."""
    if is_main_process():
        print(f"{osp.basename(sys.argv[0])}: warning: {text}", file=sys.stderr)


def has_accelerator() -> bool:
    """Return whether MMEngine would train on another device than the CPU."""
    from mmengine.device import get_device

    return str(get_device()) != "cpu"
