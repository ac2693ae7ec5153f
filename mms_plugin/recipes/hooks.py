"""Hooks of a config that have to do with batches, sizes or pipelines."""

from __future__ import annotations

import copy
from typing import Any, Iterator, List, Mapping, Set, Tuple

from .config_edits import RecipeError, Report, assign, kind_of, nested_components
from .pipelines import Pipeline, Steps

# What mmdet's YOLOXModeSwitchHook leaves out where it does not say it.
_YOLOX_SKIPS = ("Mosaic", "RandomAffine", "MixUp")

_REFUSED = {
    "ResolutionCurriculumHook": "the config has a curriculum already",
    "PreciseBNHook": "it divides by the loader's batch_size, and a loader with a batch "
    "sampler has none",
}


def check_hooks(config: Mapping) -> None:
    """Refuse hooks that do not go with the batch sampler.

    Raises:
        RecipeError: There is one.
    """
    for place, hook in _hooks(config):
        name = kind_of(hook).name
        if name in _REFUSED:
            raise RecipeError(place, f"{name}: {_REFUSED[name]}")


def hook_pipelines(config: Mapping) -> List[Pipeline]:
    """The pipelines that hooks switch to."""
    return [
        Pipeline(f"{place}.{path}", transforms)
        for place, hook in _hooks(config)
        for path, transforms in nested_components(hook)
        if path.endswith("pipeline")
    ]


def hook_skip_type_keys(config: Mapping) -> Set[str]:
    """Names of transforms that hooks leave out."""
    names: Set[str] = set()
    for _, hook in _hooks(config):
        names |= set(_skips(hook))
    return names


def convert_hooks(
    config: Any, steps: Steps, rewritten: List[Tuple[Any, Any]], report: Report
) -> None:
    """Rewrite the pipelines of the hooks, and the names that they leave out.

    Args:
        config: The whole config; its ``custom_hooks`` are set anew.
        steps: What is to be done to the pipelines.
        rewritten: Takes the pipelines before and after.
        report: Called with a line for each change.
    """
    hooks = list(config.get("custom_hooks") or ())
    for index, hook in enumerate(hooks):
        if not isinstance(hook, Mapping):
            continue
        place = f"custom_hooks[{index}]"
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
