"""Choose the checkpoint that ``--resume`` continues, the same on all ranks."""

from __future__ import annotations

import os.path as osp
from typing import List, Optional, Tuple

from mmengine.config import Config
from mmengine.dist import all_gather_object

from ..checkpoints.find_checkpoint import (
    LAST_CHECKPOINT,
    TEMPLATES,
    UnreadableCheckpointError,
    checkpoint_progress,
    latest_checkpoint,
)
from .errors import UserError
from .launching import warn


def choose_checkpoint_to_resume(config: Config, resume: Optional[str]) -> None:
    """Set ``config.load_from`` to a checkpoint that training can resume from.

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
        if osp.exists(osp.join(config.work_dir, LAST_CHECKPOINT)):
            warn(
                f"{config.work_dir} has checkpoints of an earlier training, and this "
                "one writes over those of the same name; --work-dir names another "
                "folder, --resume continues"
            )
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
            f"({passed_over}); name another one with --resume CKPT, or start from "
            "scratch without --resume"
        )
    if latest.path is None:
        text = f"no checkpoint in {config.work_dir} yet: training starts from scratch"
        config.resume = False
    else:
        config.load_from = latest.path
        text = f"resuming from {latest.path}, the newest that can be read"
        text += f" ({passed_over})" if passed_over else ""
    if latest.path is None or latest.path != latest.named:
        warn(f"--resume: {text}")


def check_ranks_resume_alike(config: Config) -> None:
    """Refuse ranks that would resume from different checkpoints.

    Each has looked for itself, before there was a process group. Called by all ranks.

    Raises:
        UserError: On every rank: they have found different ones.
    """
    own = config.get("load_from") if config.get("resume") else None
    found = all_gather_object(own)
    for rank, other in enumerate(found):
        if other != found[0]:
            raise UserError(
                f"--resume: rank 0 would resume from {found[0] or 'no checkpoint'}, "
                f"rank {rank} from {other or 'no checkpoint'}; --work-dir must be a "
                "folder that all nodes share"
            )


def _check_resume(name: str) -> None:
    if osp.isdir(name):  # DeepSpeed's checkpoints are folders
        return
    try:
        checkpoint_progress(name)
    except UnreadableCheckpointError as error:
        raise UserError(f"--resume {name} cannot be resumed from: {error}") from None


def _checkpoints_of(config: Config) -> Tuple[Optional[str], List[str]]:
    """Return where the config's checkpoint hook writes, and under which names."""
    hook = (config.get("default_hooks") or {}).get("checkpoint") or {}
    templates = list(TEMPLATES)
    if hook.get("filename_tmpl"):
        templates.insert(0, str(hook["filename_tmpl"]))
    out_dir = hook.get("out_dir")
    # CheckpointHook's own rule; the runner makes the work dir absolute.
    work_dir = osp.abspath(config.work_dir)
    if not out_dir or str(out_dir) == work_dir:
        return None, templates
    return osp.join(str(out_dir), osp.basename(work_dir)), templates
