"""Count the FLOPs of a model for a recipe."""

from __future__ import annotations

import copy
from typing import Any, Iterable, Optional

from ..analysis.build_model import build_model
from ..analysis.model_flops import ModelFlops, UncountedError, model_flops
from ..multi_scale.sizes import Size
from .config_edits import RecipeError, Report

__all__ = ["counted_flops"]


def counted_flops(
    config: Any,
    sizes: Iterable[Size],
    positive_rois: Optional[int],
    remedy: str,
    report: Report,
) -> ModelFlops:
    """Return the training FLOPs of the model of a converted config.

    Args:
        config: A config after :func:`vbs_recipe`, which may change the model so that it
            runs at all sizes. It is not changed.
        sizes: ``(height, width)`` of the images, in pixels.
        positive_rois: Positive RoIs per image, see :func:`model_flops`.
        remedy: What the user can do without the FLOPs, for the error.
        report: Called with a line for what was assumed.

    Raises:
        RecipeError: If the FLOPs cannot be counted.
    """
    # Building a model removes entries from its config.
    model = build_model(copy.deepcopy(config))
    try:
        return model_flops(model, sizes, positive_rois, tell=report)
    except UncountedError as error:
        raise RecipeError("model", f"{error}; {remedy}") from error
