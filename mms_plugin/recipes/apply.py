"""Apply recipes by name: ``vbs``, ``vbs-cur``, ``agvm``, or several joined by ``+``."""

from __future__ import annotations

import copy
import functools
import inspect
from dataclasses import fields
from difflib import get_close_matches
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from ..agvm import AGVMConfig
from ..hooks.resolution_curriculum_hook import ResolutionCurriculumHook
from ..registry import drop_scope
from .agvm import agvm_recipe
from .budget import BUDGET_OPTIONS, budget_options, refuse_unused_options
from .config_edits import Report
from .counted_cost_model import FROM_FLOPS, counted_cost_model
from .large_batch_recipe import LARGE_BATCH_OPTIONS, share_batch_first
from .vbs import vbs_cur_recipe, vbs_recipe

__all__ = ["RECIPES", "apply_recipes", "option_names"]


def _vbs(config: Any, options: Mapping[str, Any], report: Optional[Report]) -> Any:
    options = _with_cost_model(config, options, report)
    return vbs_recipe(config, report=report, **options)


def _vbs_cur(config: Any, options: Mapping[str, Any], report: Optional[Report]) -> Any:
    options = _with_cost_model(config, options, report)
    if "budget" in options:
        options = budget_options(config, options, report or (lambda line: None))
    refuse_unused_options(options)
    options = {k: v for k, v in options.items() if k not in BUDGET_OPTIONS}
    return vbs_cur_recipe(config, options, report)


def _with_cost_model(
    config: Any, options: Mapping[str, Any], report: Optional[Report]
) -> Mapping[str, Any]:
    """Replace ``cost_model='flops'`` by the counted one; check ``positive_rois``."""
    wanted = options.get("cost_model")
    if isinstance(wanted, str) and wanted != FROM_FLOPS:
        raise ValueError(
            f"cost_model must be {FROM_FLOPS!r} or dict(alpha=..., beta=...), but got "
            f"{wanted!r}"
        )
    if wanted != FROM_FLOPS:
        uncounted = "budget" not in options or any(
            options.get(name) is not None for name in ("times", "estimate")
        )
        if "positive_rois" in options and uncounted:
            raise ValueError(
                f"positive_rois={options['positive_rois']!r} needs cost_model='flops' "
                "or budget=B without times and estimate, for which FLOPs are counted"
            )
        return options
    known = {*inspect.signature(vbs_recipe).parameters, "positive_rois"}
    own = {k: v for k, v in options.items() if k in known}
    del own["cost_model"]
    own.pop("start_sizes", None)  # of the curriculum
    model = counted_cost_model(config, own, report or (lambda line: None))
    kept = {k: v for k, v in options.items() if k != "positive_rois"}
    return {**(options if "budget" in options else kept), "cost_model": model}


def _agvm(config: Any, options: Mapping[str, Any], report: Optional[Report]) -> Any:
    large_batch = {k: v for k, v in options.items() if k in LARGE_BATCH_OPTIONS}
    others = {k: v for k, v in options.items() if k not in large_batch}
    return agvm_recipe(config, others, report=report, **large_batch)


RECIPES: Dict[str, Callable[[Any, Mapping[str, Any], Optional[Report]], Any]] = {
    "vbs": _vbs,
    "vbs-cur": _vbs_cur,
    "agvm": _agvm,
}
"""Recipes by name. Each takes ``(config, options, report)``, returns a new config."""


def option_names(name: str) -> Tuple[str, ...]:
    """Return the names of the options that a recipe of :data:`RECIPES` takes."""
    if name == "agvm":
        own = [field.name for field in fields(AGVMConfig)]
        return (*own, *LARGE_BATCH_OPTIONS)
    parameters = inspect.signature(vbs_recipe).parameters
    own = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
    own.remove("report")
    if name == "vbs":
        own.remove("start_sizes")
        return (*own, "positive_rois")
    own += [k for k in (*_curriculum_options(), *BUDGET_OPTIONS) if k not in own]
    return tuple(own)


def apply_recipes(
    config: Any,
    recipes: Union[str, Sequence[str]],
    options: Optional[Mapping[str, Any]] = None,
    report: Optional[Callable[[str, str], None]] = None,
) -> Any:
    """Convert a config by one or several recipes, ``agvm`` last.

    Args:
        config: A config, as a dict or an MMEngine ``Config``. It is not changed.
        recipes: Names of :data:`RECIPES`, in a list or joined by ``'+'``.
        options: Options of the recipes. Each is passed to every recipe that has it.
            Defaults to None: no options.
        report: Called with the name of the recipe and a line of text for each change.
            Defaults to None: changes are not reported.

    Returns:
        A converted copy of the config.

    Raises:
        TypeError: If an argument of AGVM has the wrong type.
        ValueError: If a recipe or an option is unknown, or the config cannot be
            converted.
    """
    wanted = recipes.split("+") if isinstance(recipes, str) else list(recipes)
    options = dict(options or {})
    for name in wanted:
        if name not in RECIPES:
            raise ValueError(f"{name!r} is not one of {', '.join(RECIPES)}")
        if wanted.count(name) > 1:
            raise ValueError(f"recipe {name!r} is given {wanted.count(name)} times")
    if "vbs" in wanted and "vbs-cur" in wanted:
        raise ValueError(f"recipe {'+'.join(wanted)}: vbs-cur is vbs with a curriculum")
    # What agvm chooses depends on the number of updates, which the others change.
    wanted.sort(key=lambda name: name == "agvm")
    known: List[str] = []
    for name in wanted:
        known += [option for option in option_names(name) if option not in known]
    unknown = sorted(set(options) - set(known))
    if unknown:
        others = [name for name in RECIPES if unknown[0] in option_names(name)]
        hint = f" ({' and '.join(others)} has it)" if others else ""
        close = get_close_matches(unknown[0], known, 1)
        hint = f" (did you mean {close[0]!r}?)" if close and not others else hint
        raise ValueError(
            f"recipe {'+'.join(wanted)} has no option {unknown[0]!r}{hint}; its "
            f"options are {', '.join(known)}"
        )
    config = copy.deepcopy(config)
    drop_scope(config)
    if "agvm" in wanted and len(wanted) > 1 and "batch_size" in options:
        # The sizes depend on the images that it leaves a rank.
        share_batch_first(config, options, _reporter("agvm", report))
    for name in wanted:
        own = _own_options(name, wanted, options)
        config = RECIPES[name](config, own, _reporter(name, report))
    return config


def _reporter(
    name: str, report: Optional[Callable[[str, str], None]]
) -> Optional[Report]:
    """Return a report of lines that is called with the name of the recipe too."""
    return None if report is None else functools.partial(report, name)


def _own_options(
    name: str, wanted: Sequence[str], options: Mapping[str, Any]
) -> Dict[str, Any]:
    """Return the options of a recipe, without those that only another has a use for."""
    own = {k: v for k, v in options.items() if k in option_names(name)}
    unused: List[str] = []
    if len(wanted) > 1 and name == "agvm" and "batch_size" not in options:
        counts = ["num_samples", "world_size"] if "budget" in options else []
        unused = ["keep", *counts]
    elif "agvm" in wanted and name != "agvm" and "budget" not in options:
        unused = ["num_samples", "world_size"]
    return {k: v for k, v in own.items() if k not in unused}


def _curriculum_options() -> Tuple[str, ...]:
    names = list(inspect.signature(ResolutionCurriculumHook).parameters)
    names.remove("start_sizes")
    return tuple(names)
