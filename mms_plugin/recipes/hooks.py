"""Check and convert the hooks that deal with batches, sizes or pipelines."""

from __future__ import annotations

import copy
from typing import Any, Iterator, List, Mapping, Set, Tuple

from ..utils.config_types import kind_of
from .config_edits import RecipeError, Report, assign, nested_components
from .pipeline_paths import Pipeline
from .pipelines import Steps

# Default of skip_type_keys of mmdet's YOLOXModeSwitchHook.
_YOLOX_SKIPS = ("Mosaic", "RandomAffine", "MixUp")

# Default of num_samples of mmpretrain's PreciseBNHook.
_PRECISE_BN_SAMPLES = 8192

_REFUSED = {
    "MultiScaleSamplerHook": "the config has the hook of the batch sampler already",
    "ResolutionCurriculumHook": "the config has a curriculum already",
}


def check_hooks(config: Mapping) -> None:
    """Check that no hook is incompatible with the batch sampler.

    Raises:
        RecipeError: If one is.
    """
    for place, hook in _hooks(config):
        name = kind_of(hook).name
        if name in _REFUSED:
            raise RecipeError(place, f"{name}: {_REFUSED[name]}")


def hook_pipelines(config: Mapping) -> List[Pipeline]:
    """Return the pipelines that hooks switch to."""
    return [
        Pipeline(f"{place}.{path}", transforms)
        for place, hook in _hooks(config)
        for path, transforms in nested_components(hook)
        if path.endswith("pipeline")
    ]


def hook_skip_type_keys(config: Mapping) -> Set[str]:
    """Return the names of transforms that hooks remove from pipelines."""
    names: Set[str] = set()
    for _, hook in _hooks(config):
        names |= set(_skips(hook))
    return names


def convert_hooks(
    config: Any, steps: Steps, rewritten: List[Tuple[Any, Any]], report: Report
) -> None:
    """Convert the pipelines of the hooks and their ``skip_type_keys``.

    mmpretrain's ``PreciseBNHook`` becomes :class:`BaseSizeBatchNormHook`.

    Args:
        config: The whole config. Its ``custom_hooks`` are replaced.
        steps: Converts the pipelines.
        rewritten: A pair is appended for each pipeline: before and after.
        report: Called with a line for each change.
    """
    hooks = list(config.get("custom_hooks") or ())
    for index, hook in enumerate(hooks):
        if not isinstance(hook, Mapping):
            continue
        place = f"custom_hooks[{index}]"
        if kind_of(hook).name == "PreciseBNHook":
            # It divides by the loader's batch_size, of which this loader has none.
            images = config["train_dataloader"]["batch_size"]
            batches = max(1, hook.get("num_samples", _PRECISE_BN_SAMPLES) // images)
            hooks[index] = dict(type="BaseSizeBatchNormHook", num_batches=batches)
            report(
                f"{place}: PreciseBNHook -> BaseSizeBatchNormHook(num_batches="
                f"{batches}), on each rank, at the end of the training only"
            )
            continue
        changed: Any = copy.copy(hook)
        for path, old in nested_components(hook):
            if path.endswith("pipeline"):
                new = steps.rewrite(Pipeline(f"{place}.{path}", old), report)
                assign(changed, path, new)
                rewritten.append((old, new))
        skips = list(_skips(hook))
        if skips and steps.renamed(skips) != skips:
            changed["skip_type_keys"] = steps.renamed(skips)
            report(
                f"{place}.skip_type_keys: {', '.join(skips)} -> "
                f"{', '.join(changed['skip_type_keys'])}"
            )
        hooks[index] = changed
    if hooks:
        config["custom_hooks"] = hooks


def _hooks(config: Mapping) -> Iterator[Tuple[str, Mapping]]:
    for index, hook in enumerate(config.get("custom_hooks") or ()):
        if isinstance(hook, Mapping):
            yield f"custom_hooks[{index}]", hook


def _skips(hook: Mapping) -> Tuple[str, ...]:
    default: Any = ()
    if kind_of(hook).name == "YOLOXModeSwitchHook":
        default = _YOLOX_SKIPS
    return tuple(hook.get("skip_type_keys", default) or ())
