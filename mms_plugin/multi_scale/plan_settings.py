"""Compare the settings that the plans of two trainings depend on.

They are saved in checkpoints, as plain numbers and text under the names of the
arguments that users set. Pure functions.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

from .curriculum import ResolutionCurriculum
from .growing_sizes import GrowingSizes
from .inner_sampler import is_endless
from .training_settings import TrainingSettings

__all__ = ["changed_settings", "plan_settings"]


def plan_settings(settings: TrainingSettings) -> Dict[str, Any]:
    """Return the settings that sizes, batches and the number of iterations depend on.

    The seeds are left out, since a resumed training takes those of its checkpoint, and
    so are arguments that have no effect because of others.

    Args:
        settings: Settings of the training.

    Returns:
        The value of each argument by its name, those of the curriculum as
        ``curriculum.<name>``; numbers, text, ``None`` and lists of these.
    """
    inner = settings.inner_sampler
    found: Dict[str, Any] = dict(
        sampler=type(inner).__name__,
        world_size=settings.shares.world_size,
        num_samples=settings.num_samples,
        drop_last=settings.drop_last,
        group_by_aspect_ratio=settings.landscape is not None,
    )
    if hasattr(inner, "shuffle"):
        found["sampler.shuffle"] = bool(inner.shuffle)
    if not is_endless(inner):
        found["sampler.round_up"] = settings.shares.padded
    found.update(_size_settings(settings.growing_sizes))
    curriculum = settings.growing_sizes.curriculum
    if curriculum is not None:
        found.update(_curriculum_settings(curriculum))
        if curriculum.schedule != "constant":
            found["max_epochs"] = settings.max_epochs
            found["max_iters"] = settings.max_iters
    return {name: _plain(value) for name, value in found.items()}


def _size_settings(growing: GrowingSizes) -> Dict[str, Any]:
    uniform = len(set(growing.weights)) == 1
    found: Dict[str, Any] = dict(
        sizes=growing.sizes, weights=None if uniform else growing.weights
    )
    if growing.has_table:
        found["batch_sizes"] = growing.batch_sizes
        return found
    found["batch_size"] = growing.batch_size
    found["variable_batch"] = growing.variable_batch
    if growing.variable_batch:
        found["base_size"] = growing.base_size
        cost = growing.cost_model
        found["cost_model"] = None
        if cost is not None:
            found["cost_model"] = dict(alpha=float(cost.alpha), beta=float(cost.beta))
    return found


def _curriculum_settings(curriculum: ResolutionCurriculum) -> Dict[str, Any]:
    found: Dict[str, Any] = dict(
        schedule=_name(curriculum.schedule), end_sizes=curriculum.end_sizes
    )
    if curriculum.schedule != "constant":
        found["start_sizes"] = curriculum.start_sizes
        found["by_epoch"] = curriculum.by_epoch
        if curriculum.schedule == "step":
            found["milestones"] = curriculum.milestones
        else:
            found.update(begin=curriculum.begin, end=curriculum.end)
    return {f"curriculum.{name}": value for name, value in found.items()}


def _name(schedule: Any) -> str:
    """Return the name of a schedule; a callable's has its module before it."""
    if isinstance(schedule, str):
        return schedule
    named = schedule if hasattr(schedule, "__qualname__") else type(schedule)
    return f"{named.__module__}.{named.__qualname__}"


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def changed_settings(
    before: Optional[Mapping[str, Any]], now: Mapping[str, Any]
) -> List[str]:
    """Describe each setting that differs, with both values.

    Settings that only one side has are not compared, since checkpoints of earlier
    versions lack some. A curriculum that only one side has is described as a whole,
    unless it is constant: then the plans are those without one.

    Args:
        before: :func:`plan_settings` of the checkpoint.
        now: :func:`plan_settings` of the current settings.

    Returns:
        One text for each setting, such as ``'max_epochs is 6 (was 3)'``.
    """
    if not before:
        return []
    texts: List[str] = []
    if "sizes" in before and not _has_curriculum(before) and _changes_sizes(now):
        texts.append("a resolution curriculum is set (was not)")
    if not _has_curriculum(now) and _changes_sizes(before):
        texts.append("no resolution curriculum is set (was set)")
    for name in now:
        if name in before and before[name] != now[name]:
            texts.append(f"{name} is {_shown(now[name])} (was {_shown(before[name])})")
    return texts


def _has_curriculum(settings: Mapping[str, Any]) -> bool:
    return "curriculum.schedule" in settings


def _changes_sizes(settings: Mapping[str, Any]) -> bool:
    """Return whether the sizes differ from those without a curriculum."""
    return (
        settings.get("curriculum.schedule", "constant") != "constant"
        or settings.get("curriculum.end_sizes") is not None
    )


def _shown(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(v, list) and len(v) == 2 for v in value):
            sides = [str(h) if h == w else f"({h}, {w})" for h, w in value]
            return f"[{', '.join(sides)}]"
        return f"[{', '.join(_shown(v) for v in value)}]"
    return f"{value:g}" if isinstance(value, float) else repr(value)
