"""Save checkpoints between updates of the weights, not while gradients accumulate."""

from __future__ import annotations

import itertools
from typing import Any

from ..analysis.config_plan import ConfigPlan
from ..utils.config_types import counts_iterations
from ..utils.validation import is_integer
from .config_edits import Report, assign
from .iteration_counts import checkpoint_by_iteration

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
    checkpoint = checkpoint_by_iteration(config)
    if checkpoint:
        _round_up(config, checkpoint.get("interval"), accumulation, report)
        return
    ends = itertools.accumulate(epoch.iterations for epoch in plan.epochs)
    if plan.by_epoch and any(end % accumulation for end in ends):
        report(
            f"note: epochs end within the {accumulation} iterations of an update, and "
            "a checkpoint does not have their gradients: resuming there loses them. To "
            "resume exactly, set default_hooks.checkpoint.by_epoch=False and an "
            f"interval that is a multiple of {accumulation}"
        )


def _round_up(config: Any, old: Any, accumulation: int, report: Report) -> None:
    """Round the interval ``old`` of the checkpoints up to whole updates."""
    if not is_integer(old) or old <= 0 or old % accumulation == 0:
        return
    new = -(-old // accumulation) * accumulation
    assign(config, "default_hooks.checkpoint.interval", new)
    report(f"default_hooks.checkpoint.interval: {old} -> {new}, between two updates")
    if config["train_cfg"].get("val_interval") == old and counts_iterations(config):
        assign(config, "train_cfg.val_interval", new)
        report(f"train_cfg.val_interval: {old} -> {new}")
