"""The model of a config."""

from __future__ import annotations

from typing import Any

from mmengine.registry import MODELS
from torch import nn

from ..utils.pretrained import without_pretrained

__all__ = ["build_model"]


def build_model(config: Any) -> nn.Module:
    """Build the config's model with its ``data_preprocessor``, as the runner does.

    Built in the scope in use, with random weights: nothing is downloaded.

    Args:
        config: Of a training or an evaluation.

    Raises:
        ValueError: The config has no model.
    """
    if not isinstance(config.get("model"), dict) or not config["model"]:
        raise ValueError("the config has no model")
    model = dict(config["model"])
    if config.get("data_preprocessor") is not None:
        model.setdefault("data_preprocessor", config["data_preprocessor"])
    built: nn.Module = MODELS.build(without_pretrained(model))
    return built
