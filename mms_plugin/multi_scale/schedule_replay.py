"""Replay parameter schedulers up to an epoch and iteration."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any, Dict, List, Sequence, Tuple

from mmengine.optim import _ParamScheduler

__all__ = ["replay_schedules"]


def replay_schedules(
    schedulers: Sequence[_ParamScheduler], epoch_lengths: Sequence[int], more: int
) -> bool:
    """Put schedulers, and what they schedule, where a training would have them.

    MMEngine's schedulers multiply the current value, so that it depends on every step
    before. The steps of the whole training are repeated, from the initial values of the
    optimizer's parameter groups, with the schedulers' current times.

    Args:
        schedulers: All those of one optimizer.
        epoch_lengths: Iterations of each whole epoch so far.
        more: Iterations of the current epoch so far.

    Returns:
        bool: Whether the scheduled values were set. If a scheduler follows metrics, as
        ``ReduceOnPlateauLR`` does, its past steps are not known: the values stay as
        they are, and only the step counts of the others are set.
    """
    steady = [s for s in schedulers if not getattr(s, "need_val_args", False)]
    if not steady:
        return False
    groups = steady[0].optimizer.param_groups
    for scheduler in steady:
        # A checkpoint with other groups (of AGVM's modules) has its own number of them.
        if len(scheduler.base_values) != len(groups):
            scheduler.base_values = [
                _initial(group, [scheduler.param_name])[scheduler.param_name]
                for group in groups
            ]
    kinds = _kinds_of_groups(steady, groups)
    copies, scratch = _started_again(steady, groups, list(kinds.values()))
    by_iteration = [s for s in copies if not s.by_epoch]
    by_epoch = [s for s in copies if s.by_epoch]
    for length in epoch_lengths:
        _step(by_iteration, length)
        _step(by_epoch, 1)
    _step(by_iteration, more)

    numbers = {index: i for i, same in enumerate(kinds) for index in kinds[same]}
    known = len(steady) == len(schedulers)
    for scheduler, replayed in zip(steady, copies):
        scheduler.last_step = replayed.last_step
        scheduler._global_step = replayed._global_step
        if known:
            scheduler._last_value = [
                replayed._last_value[numbers[i]] for i in range(len(groups))
            ]
    if known:
        names = {s.param_name for s in steady}
        names |= {"betas" for s in steady if getattr(s, "use_betas", False)}
        for index, group in enumerate(groups):
            group.update({name: scratch[numbers[index]][name] for name in names})
    return known


def _step(schedulers: Sequence[Any], times: int) -> None:
    for _ in range(times):
        for scheduler in schedulers:
            scheduler.step()


def _initial(group: Dict[str, Any], names: Sequence[str]) -> Dict[str, Any]:
    """Return the settings of a group with the initial values of scheduled ones."""
    settings = {key: value for key, value in group.items() if key != "params"}
    for name in names:
        # A checkpoint of a training without schedulers has no initial values.
        settings[name] = group.get(f"initial_{name}", group[name])
    return settings


def _kinds_of_groups(
    schedulers: Sequence[_ParamScheduler], groups: Sequence[Dict[str, Any]]
) -> Dict[Any, List[int]]:
    """Return the indices of the groups that go through the same values.

    Often there is a group for each parameter of the model, and few kinds of them.
    """
    names = [s.param_name for s in schedulers]
    kinds: Dict[Any, List[int]] = {}
    for index, group in enumerate(groups):
        bases = [s.base_values[index] for s in schedulers]
        kind = repr((sorted(_initial(group, names).items()), bases))
        kinds.setdefault(kind, []).append(index)
    return kinds


def _started_again(
    schedulers: Sequence[_ParamScheduler],
    groups: Sequence[Dict[str, Any]],
    kinds: Sequence[Sequence[int]],
) -> Tuple[List[Any], List[Dict[str, Any]]]:
    """Return copies of the schedulers at their first step, and groups to step on."""
    names = [s.param_name for s in schedulers]
    scratch = [_initial(groups[indices[0]], names) for indices in kinds]
    optimizer = SimpleNamespace(
        param_groups=scratch,
        # What the schedulers look at to see that optimizer and scheduler alternate.
        step=SimpleNamespace(_with_counter=True),
        _global_step=0,
    )
    copies = []
    for scheduler in schedulers:
        replayed: Any = copy.copy(scheduler)
        replayed.optimizer = optimizer
        replayed.verbose = False
        replayed.base_values = [scheduler.base_values[i] for i, *_ in kinds]
        replayed.last_step = replayed._global_step = -1
        replayed.step()
        copies.append(replayed)
    return copies, scratch
