"""The data sets of a config: the pipelines that their images pass."""

from __future__ import annotations

import copy
from typing import Any, Iterator, List, Mapping, Set, Tuple

from .config_edits import RecipeError, Report, kind_of, short
from .pipelines import Pipeline, Steps


def pipeline_chains(dataset: Any, place: str) -> List[Tuple[str, List[Pipeline]]]:
    """The pipelines of each data set at the bottom, from the inside out.

    Args:
        dataset: The config of a data set, with or without wrappers.
        place: Its place.

    Returns:
        For each data set at the bottom its place and the pipelines.

    Raises:
        RecipeError: A data set is no config.
    """
    if not isinstance(dataset, Mapping):
        raise RecipeError(
            place, f"must be a data set's config, but is {short(dataset)}"
        )
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
    """Names of transforms that ``MultiImageMixDataset`` leaves out."""
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
    """The data set with its pipelines rewritten.

    Args:
        dataset: Its config; not changed.
        place: Its place.
        steps: What is to be done to the pipelines.
        rewritten: Takes the pipelines before and after.
        report: Called with a line for each change.
    """
    converted: Any = copy.copy(dataset)
    for inner_place, nested in inner_datasets(dataset, place):
        new = convert_dataset(nested, inner_place, steps, rewritten, report)
        if inner_place == f"{place}.dataset":
            converted["dataset"] = new
        else:
            index = int(inner_place.rpartition("[")[2][:-1])
            members = list(converted["datasets"])
            members[index] = new
            converted["datasets"] = members
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
    """Such as ``RepeatDataset(CocoDataset)``."""
    name = kind_of(dataset).name
    inner = list(
        dict.fromkeys(dataset_names(d) for _, d in inner_datasets(dataset, ""))
    )
    return f"{name}({', '.join(inner)})" if inner else name


def inner_datasets(dataset: Mapping, place: str) -> Iterator[Tuple[str, Any]]:
    if dataset.get("dataset") is not None:
        yield f"{place}.dataset", dataset["dataset"]
    members = dataset.get("datasets")
    if isinstance(members, (list, tuple)):
        for index, member in enumerate(members):
            yield f"{place}.datasets[{index}]", member
