"""Split param groups, and saved ones, by module; count and list what they contain."""

from __future__ import annotations

import itertools
from typing import Any, Dict, List, Sequence

from torch import Tensor

from ..utils.tables import plain_table

__all__ = [
    "check_alike",
    "count_trainable",
    "module_table",
    "split_groups",
    "split_saved_groups",
]


def split_groups(
    groups: Sequence[Dict[str, Any]], owner: Dict[Tensor, str]
) -> List[Dict[str, Any]]:
    """Split param groups so that each has parameters of one module only.

    The order of all parameters stays, so that sums over them (such as the norm for
    clipping) round as before, and a saved state keeps its numbering.

    Args:
        groups: Param groups of an optimizer.
        owner: Module of each parameter, see
            :func:`~.find_modules.assign_parameters`.

    Returns:
        list[dict]: New groups with all options of the group that they come from, and
        the name of their module as ``'agvm_module'``.
    """
    result = []
    for group in groups:
        seen: Dict[Tensor, int] = {}  # a parameter that a group has twice counts once
        for index, param in enumerate(group["params"]):
            seen.setdefault(param, index)
        for module, run in itertools.groupby(seen, key=lambda param: owner[param]):
            params = list(run)
            part = {**group, "params": params, "agvm_module": module}
            # One name per parameter, as mmdet's layer decay has them.
            names = group.get("param_names")
            if isinstance(names, list) and len(names) == len(group["params"]):
                part["param_names"] = [names[seen[param]] for param in params]
            result.append(part)
    return result


def split_saved_groups(
    saved: Sequence[Dict[str, Any]], groups: Sequence[Dict[str, Any]]
) -> List[Dict[str, Any]]:
    """Split the param groups of a saved optimizer state as an optimizer's are.

    Both number the parameters in the same order, whatever groups they are in.

    Args:
        saved: ``param_groups`` of an optimizer's ``state_dict``.
        groups: Param groups of the optimizer, which name their module.

    Returns:
        list[dict]: One group for each of ``groups``, with its module and the options
        of the saved group that its first parameter was in.

    Raises:
        ValueError: The numbers of parameters differ.
    """
    numbers = [number for group in saved for number in group["params"]]
    expected = sum(len(group["params"]) for group in groups)
    if len(numbers) != expected:
        raise ValueError(
            f"state_dict has {len(numbers)} parameters, but the optimizer has "
            f"{expected}. It was saved for another model or paramwise_cfg."
        )
    saved_group = {number: group for group in saved for number in group["params"]}
    remaining = iter(numbers)
    result = []
    for group in groups:
        params = list(itertools.islice(remaining, len(group["params"])))
        options = dict(saved_group[params[0]], params=params)
        options["agvm_module"] = group["agvm_module"]
        if "param_names" in group:
            options["param_names"] = group["param_names"]
        result.append(options)
    return result


def check_alike(groups: Sequence[Dict[str, Any]]) -> None:
    """Refuse groups of several settings, which a single saved group cannot restore.

    Args:
        groups: Param groups of the optimizer.

    Raises:
        ValueError: Two of them differ in more than their parameters and module.
    """
    first = groups[0]
    for group in groups[1:]:
        for key in sorted(set(group) - {"params", "param_names", "agvm_module"}):
            if group[key] != first.get(key):
                raise ValueError(
                    f"state_dict has one param group, but {key} is {first.get(key)} "
                    f"for {first['agvm_module']} and {group[key]} for "
                    f"{group['agvm_module']} in this training. Resume with the "
                    "paramwise_cfg of the checkpoint, or start a new training from its "
                    "weights (load_from)."
                )


def count_trainable(groups: Sequence[Dict[str, Any]]) -> Dict[str, int]:
    """Return how many trainable numbers each module has.

    Args:
        groups: Param groups that name their module.
    """
    counts: Dict[str, int] = {}
    for group in groups:
        numbers = sum(p.numel() for p in group["params"] if p.requires_grad)
        module = group["agvm_module"]
        counts[module] = counts.get(module, 0) + numbers
    return counts


def module_table(groups: Sequence[Dict[str, Any]], anchor: Sequence[str]) -> str:
    """Return a text table of modules, trainable parameters and param groups.

    Args:
        groups: Param groups that name their module.
        anchor: The modules that are the anchor.
    """
    rows: Dict[str, List[int]] = {}
    for group in groups:
        row = rows.setdefault(group["agvm_module"], [0, 0, 0])
        params = [param for param in group["params"] if param.requires_grad]
        row[0] += len(params)
        row[1] += sum(param.numel() for param in params)
        row[2] += 1
    cells = [["module", "tensors", "parameters", "groups", ""]]
    for name, row in rows.items():
        mark = "anchor" if name in anchor else ""
        cells.append([name, *(f"{value:,}" for value in row), mark])
    return plain_table(cells, text_columns=(0, 4))
