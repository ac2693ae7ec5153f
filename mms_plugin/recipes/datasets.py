"""Find and convert the pipelines of the datasets in a config."""

from __future__ import annotations

import copy
from typing import Any, List, Mapping, Set, Tuple

from ..utils.config_types import kind_of
from ..utils.nested_datasets import inner_datasets
from .config_edits import RecipeError, Report, assign, short
from .pipeline_paths import Pipeline
from .pipelines import Steps


def pipeline_chains(dataset: Any, place: str) -> List[Tuple[str, List[Pipeline]]]:
    """Return the pipelines that the images of each innermost dataset pass.

    Args:
        dataset: Config of a dataset, with or without wrappers.
        place: Its path in the config.

    Returns:
        For each innermost dataset its path and its pipelines, innermost first.

    Raises:
        RecipeError: If a dataset is not a config or is multi-scale already.
    """
    if not isinstance(dataset, Mapping):
        raise RecipeError(place, f"must be a dataset's config, but is {short(dataset)}")
    if kind_of(dataset).name == "MultiScaleDataset":
        raise RecipeError(place, "is a MultiScaleDataset already")
    own: List[Pipeline] = []
    if dataset.get("pipeline") is not None:
        if not isinstance(dataset["pipeline"], (list, tuple)):
            raise RecipeError(
                f"{place}.pipeline",
                f"must be a list of transforms, but is {short(dataset['pipeline'])}",
            )
        own = [Pipeline(f"{place}.pipeline", dataset["pipeline"])]
    inner = list(inner_datasets(dataset, place))
    if not inner:
        return [(place, own)]
    return [
        (leaf, chain + own)
        for inner_place, nested in inner
        for leaf, chain in pipeline_chains(nested, inner_place)
    ]


def skip_type_keys(dataset: Mapping) -> Set[str]:
    """Return the names of transforms that ``MultiImageMixDataset`` skips."""
    names = set(dataset.get("skip_type_keys") or ())
    for _, nested in inner_datasets(dataset, ""):
        names |= skip_type_keys(nested)
    return names


def convert_dataset(
    dataset: Mapping,
    place: str,
    steps: Steps,
    rewritten: List[Tuple[Any, Any]],
    report: Report,
) -> Any:
    """Return a copy of a dataset's config with converted pipelines.

    Args:
        dataset: Config of the dataset. It is not changed.
        place: Its path in the config.
        steps: Converts the pipelines.
        rewritten: A pair is appended for each pipeline: before and after.
        report: Called with a line for each change.
    """
    converted: Any = copy.copy(dataset)
    for inner_place, nested in inner_datasets(dataset, place):
        new = convert_dataset(nested, inner_place, steps, rewritten, report)
        assign(converted, inner_place[len(place) + 1 :], new)
    if dataset.get("pipeline") is not None:
        old = dataset["pipeline"]
        converted["pipeline"] = steps.rewrite(
            Pipeline(f"{place}.pipeline", old), report
        )
        rewritten.append((old, converted["pipeline"]))
    if dataset.get("skip_type_keys"):
        converted["skip_type_keys"] = steps.renamed(dataset["skip_type_keys"])
    return converted


def dataset_names(dataset: Mapping) -> str:
    """Return a dataset's name with its wrappers: ``RepeatDataset(CocoDataset)``."""
    name = kind_of(dataset).name
    inner = list(
        dict.fromkeys(dataset_names(d) for _, d in inner_datasets(dataset, ""))
    )
    return f"{name}({', '.join(inner)})" if inner else name
