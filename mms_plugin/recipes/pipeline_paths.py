"""Follow a pipeline through nested transforms and random choices."""

from __future__ import annotations

from typing import Any, List, Mapping, NamedTuple, Sequence, Tuple

from ..utils.config_types import kind_of
from ..utils.nested_transforms import APPLY, CHOICE, TRANSPARENT
from .config_edits import RecipeError, nested_components, short
from .size_transforms import read_size

__all__ = [
    "Path",
    "Pipeline",
    "all_transforms",
    "branches",
    "is_transparent",
    "joined",
    "paths_through",
    "walk",
]

# Largest number of paths through a pipeline that are examined one by one.
_MOST_PATHS = 64

Path = List[Tuple[str, Mapping]]
"""Transforms and their places in the config, in the order that a sample passes."""


class Pipeline(NamedTuple):
    """A pipeline and its path in the config."""

    place: str
    transforms: Sequence


def paths_through(transforms: Sequence, place: str, scope: str) -> List[Path]:
    """Return the paths that a sample may take through a pipeline.

    Only random choices that set a size make more than one.

    Args:
        transforms: Of the pipeline.
        place: Its path in the config.
        scope: Scope of the config, such as ``'mmdet'``.

    Raises:
        RecipeError: If there are too many, or a transform is not a config.
    """
    paths: List[Path] = [[]]
    for own, transform in _with_places(transforms, place):
        ways: List[Path] = [[(own, transform)]]
        inside = branches(transform, own)
        if inside and _sets_sizes(inside, scope):
            ways = [way for branch in inside for way in paths_through(*branch, scope)]
            if kind_of(transform).name == APPLY:
                ways = [[], *ways]
        elif is_transparent(transform):
            for path, inner in nested_components(transform):
                nested = paths_through(inner, f"{own}.{path}", scope)
                ways = joined(ways, nested, own)
        paths = joined(paths, ways, own)
    return paths


def _sets_sizes(parts: Sequence[Tuple[Sequence, str]], scope: str) -> bool:
    for transforms, place in parts:
        for _, transform in walk(transforms, place):
            try:
                if read_size(transform, scope) is not None:
                    return True
            except ValueError:
                return True
    return False


def joined(before: List[Path], after: List[Path], place: str) -> List[Path]:
    """Return all paths through two consecutive parts of a pipeline."""
    found = [one + two for one in before for two in after]
    if len(found) > _MOST_PATHS:
        raise RecipeError(
            place,
            f"there are more than {_MOST_PATHS} paths through its random choices; "
            "write the config by hand",
        )
    return found


def branches(transform: Any, place: str) -> List[Tuple[Sequence, str]]:
    """Return the branches of a random choice and their places; [] for others."""
    if not isinstance(transform, Mapping):
        return []
    name, inner = kind_of(transform).name, transform.get("transforms")
    if name not in (CHOICE, APPLY) or not isinstance(inner, (list, tuple)):
        return []
    if name == APPLY:
        return [(inner, f"{place}.transforms")]
    return [
        (
            each if isinstance(each, (list, tuple)) else [each],
            f"{place}.transforms[{i}]",
        )
        for i, each in enumerate(inner)
    ]


def _with_places(transforms: Sequence, place: str) -> Path:
    found: Path = []
    for index, transform in enumerate(transforms):
        own = f"{place}[{index}]"
        _check_transform(transform, own)
        found.append((own, transform))
    return found


def _check_transform(transform: Any, place: str) -> None:
    if not isinstance(transform, Mapping):
        raise RecipeError(
            place, f"must be a transform's config, but is {short(transform)}"
        )


def all_transforms(pipeline: Pipeline) -> List[Tuple[str, Mapping]]:
    """Return all transforms of a pipeline and their places, including nested ones.

    Raises:
        RecipeError: If one is not a config.
    """
    return walk(pipeline.transforms, pipeline.place)


def walk(transforms: Sequence, place: str) -> Path:
    """Return all transforms and their places, including nested ones."""
    found: Path = []
    for index, transform in enumerate(transforms):
        own = f"{place}[{index}]"
        if isinstance(transform, (list, tuple)):
            found += walk(transform, own)
            continue
        _check_transform(transform, own)
        found.append((own, transform))
        for path, inner in nested_components(transform):
            found += walk(inner, f"{own}.{path}")
    return found


def is_transparent(transform: Mapping) -> bool:
    """Return whether every sample passes the transforms inside a transform."""
    return kind_of(transform).name in TRANSPARENT
