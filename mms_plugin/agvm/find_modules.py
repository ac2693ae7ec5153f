"""Find the modules that AGVM compares, and the module of each parameter."""

from __future__ import annotations

import itertools
from typing import Dict, Iterable, List, Optional, Sequence

from torch import Tensor, nn

__all__ = [
    "REST",
    "assign_parameters",
    "find_modules",
    "shared_parameters",
]

REST = "rest"
"""Module of the parameters that lie outside all named modules."""

_TOP_LEVEL = (
    "backbone",
    "neck",
    "rpn_head",
    "roi_head",
    "bbox_head",
    "mask_head",
    "semantic_head",
    "panoptic_head",
    "panoptic_fusion_head",
    "decode_head",
    "auxiliary_head",
    "head",
)


def find_modules(
    model: nn.Module, modules: Optional[Sequence[str]] = None
) -> List[str]:
    """Return the dotted names of the modules whose gradient variances are compared.

    By default these are the usual parts of MMEngine's models (backbone, neck, RPN,
    heads) that have trainable parameters. Each head inside ``roi_head`` is a module of
    its own, and so is each head in a list: the stages of a cascade, several auxiliary
    heads. A classifier with a ResNet of mmpretrain is split into the stages of the
    backbone and the head.

    Args:
        model: The model, not wrapped.
        modules: Names to use instead, each a path of attributes such as
            ``'roi_head.bbox_head'``. Defaults to None.

    Returns:
        list[str]: Names in the order of the model's parts.

    Raises:
        TypeError: ``modules`` is not a sequence of strings.
        ValueError: A name is unknown, repeated, or lies inside another one; a module
            has no trainable parameters; or none is found.
    """
    if modules is not None:
        return _named(model, modules)
    found: List[str] = []
    for name in _TOP_LEVEL:
        part = getattr(model, name, None)
        if isinstance(part, nn.Module):
            found.extend(_expand(name, part))
    if "head" in found and set(found) <= {"backbone", "neck", "head"}:
        stages = getattr(getattr(model, "backbone", None), "res_layers", None)
        if isinstance(stages, (list, tuple)) and stages:
            stages = [f"backbone.{stage}" for stage in stages]
            found = stages + [name for name in found if name != "backbone"]
    trainable = _trainable_names(model)
    found = [name for name in found if _inside(name, trainable)]
    if not found:
        raise ValueError(
            "agvm: modules=None finds none of the usual parts ("
            f"{', '.join(_TOP_LEVEL)}) with trainable parameters in "
            f"{type(model).__name__}. Name the modules: agvm=dict(modules=[...], "
            f"anchor=...). It has {_listing(model)}."
        )
    return found


def _expand(name: str, part: nn.Module) -> List[str]:
    if isinstance(part, (nn.ModuleList, nn.ModuleDict)):
        return [f"{name}.{key}" for key, _ in part.named_children()]
    if name != "roi_head":
        return [name]
    return [
        inner
        for key, child in part.named_children()
        if key.endswith("_head")
        for inner in _expand(f"{name}.{key}", child)
    ]


def _named(model: nn.Module, modules: Sequence[str]) -> List[str]:
    if (
        isinstance(modules, str)
        or not isinstance(modules, Iterable)
        or not all(isinstance(name, str) for name in modules)
    ):
        raise TypeError(
            "agvm: modules must be None or a list of dotted names such as "
            f"['backbone', 'roi_head.bbox_head'], but got {modules!r}."
        )
    names = list(modules)
    if not names:
        raise ValueError(
            "agvm: modules is empty. Leave it None to have the modules found, or name "
            f"some of {_listing(model)}."
        )
    known = {name for name, _ in model.named_modules() if name}
    for name in names:
        if name not in known:
            raise ValueError(
                f"agvm: modules names {name!r}, which {type(model).__name__} does not "
                f"have. It has {_listing(model)}."
            )
    for one, two in itertools.permutations(range(len(names)), 2):
        if f"{names[one]}.".startswith(f"{names[two]}."):
            raise ValueError(
                f"agvm: modules {names[two]!r} and {names[one]!r} overlap. Name either "
                "the whole module or its parts, each once."
            )
    trainable = _trainable_names(model)
    for name in names:
        if not _inside(name, trainable):
            raise ValueError(
                f"agvm: module {name!r} has no trainable parameters. Leave it out of "
                "modules, or unfreeze a part of it."
            )
    return names


def _trainable_names(model: nn.Module) -> List[str]:
    return [
        name
        for name, param in model.named_parameters(remove_duplicate=False)
        if param.requires_grad
    ]


def _inside(module: str, names: Iterable[str]) -> List[str]:
    return [name for name in names if name.startswith(f"{module}.")]


def _listing(model: nn.Module) -> str:
    """Return the model's parts that have parameters, two levels deep, as text."""
    names = [
        name
        for name, part in model.named_modules()
        if name and name.count(".") < 2 and any(True for _ in part.parameters())
    ]
    shown = ", ".join(names[:40])
    return shown + (f" and {len(names) - 40} more" if len(names) > 40 else "")


def assign_parameters(model: nn.Module, modules: Sequence[str]) -> Dict[Tensor, str]:
    """Return the module of every parameter, trainable or frozen.

    Args:
        model: The model, not wrapped.
        modules: Names that do not overlap.

    Returns:
        dict: Parameter to name. A parameter that several modules share belongs to the
        first of them; one that lies in none belongs to ``'rest'``.
    """
    owner: Dict[Tensor, str] = {}
    named = list(model.named_parameters(remove_duplicate=False))
    for module in modules:
        for name, param in named:
            if name.startswith(f"{module}."):
                owner.setdefault(param, module)
    for _, param in named:
        owner.setdefault(param, REST)
    return owner


def shared_parameters(model: nn.Module) -> List[List[str]]:
    """Return the names of each trainable parameter that has more than one name.

    Args:
        model: The model, not wrapped.

    Returns:
        list[list[str]]: All dotted names of each such parameter, in order.
    """
    names: Dict[Tensor, List[str]] = {}
    for name, param in model.named_parameters(remove_duplicate=False):
        if param.requires_grad:
            names.setdefault(param, []).append(name)
    return [found for found in names.values() if len(found) > 1]
