"""A cost model of the batch sizes from the FLOPs of the config's own model."""

from __future__ import annotations

from typing import Any, Dict, Mapping

from mmengine.registry import DefaultScope

from ..analysis.training_iterations import size_schedule
from ..analysis.training_size import counted_size
from ..multi_scale.sizes import ordered_sizes, side_length, size_text
from ..utils.config_types import scope_of
from .config_edits import Report
from .counted_flops import counted_flops
from .vbs import vbs_recipe

__all__ = ["FROM_FLOPS", "counted_cost_model"]

FROM_FLOPS = "flops"
"""Value of ``cost_model`` that stands for :func:`counted_cost_model`."""


def counted_cost_model(
    config: Any, options: Mapping[str, Any], report: Report
) -> Dict[str, float]:
    """Return the sampler's ``cost_model`` from the training FLOPs of the model.

    The FLOPs of an image are counted at the smallest and the largest size. The line
    through the two gives what an image costs at any size, and what it costs beside its
    pixels: RoI heads.

    Args:
        config: A config, see :func:`vbs_recipe`. It is not changed.
        options: Arguments of :func:`vbs_recipe`, without ``cost_model`` and those of
            the curriculum, and ``positive_rois``, see :func:`model_flops`.
        report: Called with a line for the result.

    Returns:
        dict: ``alpha=1.0``, and ``beta`` in pixels, at least 0.

    Raises:
        ValueError: If the batch sizes are given in another way too, or all sizes have
            the same number of pixels. As :class:`RecipeError`, if the FLOPs cannot be
            counted.
    """
    options = dict(options)
    positive_rois = options.pop("positive_rois", None)
    for name in ("batch_sizes", "variable_batch"):
        if options.get(name) is not None:
            raise ValueError(
                f"{name}={options[name]!r} must be left out with "
                f"cost_model={FROM_FLOPS!r}, which chooses the batch sizes"
            )
    with DefaultScope.overwrite_default_scope(scope_of(config)):
        probe = vbs_recipe(config, **options)
        sizes = ordered_sizes(size_schedule(probe).sizes)
        ends = (sizes[0], sizes[-1])
        if side_length(ends[0]) == side_length(ends[1]):
            raise ValueError(
                f"cost_model={FROM_FLOPS!r} needs sizes with different numbers of "
                f"pixels, but got {', '.join(map(size_text, sizes))}; leave it out"
            )
        counted = [counted_size(probe, size) for size in ends]
        remedy = "cost_model=dict(alpha=..., beta=...) does without"
        of_model = counted_flops(probe, counted, positive_rois, remedy, report)
    pixels = [height * width for height, width in ends]
    spent = [of_model.per_image[size] for size in counted]
    alpha = (spent[1] - spent[0]) / (pixels[1] - pixels[0])
    beta = max(0.0, spent[0] / alpha - pixels[0])
    model = dict(alpha=1.0, beta=float(f"{beta:.3g}"))
    report(
        f"cost_model: each image costs as much as {model['beta']:,.10g} pixels more "
        "than it has (training FLOPs at "
        f"{' and '.join(map(size_text, ends))})"
    )
    return model
