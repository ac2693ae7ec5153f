"""Save checkpoints between updates of the weights, not while gradients accumulate."""

from __future__ import annotations

import copy
import itertools
from typing import Any, Mapping

from ..analysis.config_plan import ConfigPlan
from ..utils.config_types import counts_iterations
from ..utils.validation import is_integer
from .config_edits import Report

__all__ = ["save_between_updates"]


def save_between_updates(
    config: Any, plan: ConfigPlan, accumulation: int, report: Report
) -> None:
    """Let checkpoints fall between two updates, or say that they do not.

    Accumulated gradients are in no checkpoint. An interval in iterations is rounded up
    to whole updates, with the interval of the validation if that is the same. Epochs
    may end between two updates: that is reported.

    Args:
        config: It is changed in place.
        plan: Of the training.
        accumulation: Iterations of an update.
        report: Called with a line for each change.
    """
    if accumulation == 1:
        return
    hooks = config.get("default_hooks") or {}
    checkpoint = hooks.get("checkpoint") or {}
    if not checkpoint.get("by_epoch", True):
        _round_up(config, hooks, checkpoint, accumulation, report)
        return
    ends = itertools.accumulate(epoch.iterations for epoch in plan.epochs)
    if plan.by_epoch and any(end % accumulation for end in ends):
        report(
            f"note: epochs end within the {accumulation} iterations of an update, and "
            "a checkpoint does not have their gradients: resuming there loses them. To "
            "resume exactly, set default_hooks.checkpoint.by_epoch=False and an "
            f"interval that is a multiple of {accumulation}"
        )


def _round_up(
    config: Any,
    hooks: Mapping,
    checkpoint: Mapping,
    accumulation: int,
    report: Report,
) -> None:
    old: Any = checkpoint.get("interval")
    if not is_integer(old) or old <= 0 or old % accumulation == 0:
        return
    new = -(-old // accumulation) * accumulation
    changed_hooks: Any = copy.copy(hooks)
    changed: Any = copy.copy(checkpoint)
    loop: Any = copy.copy(config["train_cfg"])
    changed["interval"] = new
    changed_hooks["checkpoint"] = changed
    config["default_hooks"] = changed_hooks
    report(f"default_hooks.checkpoint.interval: {old} -> {new}, between two updates")
    if loop.get("val_interval") == old and counts_iterations(config):
        loop["val_interval"] = new
        config["train_cfg"] = loop
        report(f"train_cfg.val_interval: {old} -> {new}")
