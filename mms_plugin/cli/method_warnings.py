"""Warn where a config lacks a part of a method that the training is about to use."""

from __future__ import annotations

import os.path as osp
from typing import Any, Mapping

from mmengine.config import Config

from ..analysis.config_plan import has_sampler_hook, is_multi_scale
from ..checkpoints.find_checkpoint import UnreadableCheckpointError, read_checkpoint
from ..checkpoints.sampler_checkpoint import SAMPLER_STATE
from .launching import warn

__all__ = ["warn_of_missing_parts"]

_BACK = "add the --recipe that it began with, or train with the config in its work dir"


def warn_of_missing_parts(config: Config) -> None:
    """Warn of a sampler without its hook, and of a resume without a method.

    Args:
        config: The whole config, its checkpoint chosen.
    """
    multi_scale = is_multi_scale(config)
    if multi_scale and not has_sampler_hook(config):
        warn(
            "the config has MultiScaleVariableBatchSampler, but neither "
            "MultiScaleSamplerHook nor ResolutionCurriculumHook in custom_hooks: no "
            "curriculum, no sizes in the log, no exact resume"
        )
    path = str(config.get("load_from") or "")
    if not config.get("resume") or "://" in path or not osp.isfile(path):
        return
    try:
        saved = read_checkpoint(path)
    except UnreadableCheckpointError:  # told when it is loaded
        return
    if SAMPLER_STATE in saved and not multi_scale:
        warn(
            f"{path} is of a training with MultiScaleVariableBatchSampler, which this "
            f"config does not have: {_BACK}"
        )
    if _has_agvm(saved.get("optimizer")) and "AGVM" not in str(
        config.get("optim_wrapper")
    ):
        warn(
            f"{path} is of a training with AGVM, which this config does not have: "
            f"{_BACK}"
        )


def _has_agvm(state: Any) -> bool:
    """Return whether AGVM is in the state of an optimizer wrapper, or of several."""
    if not isinstance(state, Mapping):
        return False
    return "agvm" in state or any(
        isinstance(part, Mapping) and "agvm" in part for part in state.values()
    )
