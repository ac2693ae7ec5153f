"""Find settings of a curriculum that have no effect in a training of a given length.

Pure functions of the curriculum and of the fractions of the training at which the
sizes are looked up.
"""

from __future__ import annotations

import math
from typing import Callable, List, Optional, Sequence

from .curriculum import ResolutionCurriculum
from .sizes import Size, side_length, size_text

__all__ = ["MOST_FRACTIONS", "even_fractions", "explain_without_effect"]

MOST_FRACTIONS = 4096
"""The largest number of lookups within epochs that are checked."""


def even_fractions(count: int) -> List[float]:
    """Return fractions ``0, 1/count, ...`` of the training, fewer if there are many.

    At most about :data:`MOST_FRACTIONS`. The first and the last are always among them.

    Args:
        count: Number of lookups over the training, at least 1.
    """
    places = list(range(0, count, max(1, -(-count // MOST_FRACTIONS))))
    if places[-1] != count - 1:
        places.append(count - 1)
    return [place / count for place in places]


def explain_without_effect(
    curriculum: ResolutionCurriculum,
    sizes_at: Callable[[float], Sequence[Size]],
    fractions: Sequence[float],
    by_epoch: bool,
) -> Optional[str]:
    """Explain which setting of a curriculum has no effect in a training.

    Args:
        curriculum: The curriculum.
        sizes_at: Returns the sizes drawn from after a fraction of the training.
        fractions: Fractions of the training at which the sizes are looked up,
            ascending, at least one.
        by_epoch: Whether these are the starts of the epochs.

    Returns:
        The settings, their values and what to set; ``None`` if all have an effect.
    """
    if curriculum.schedule == "constant":
        if curriculum.start_sizes is None:
            return None
        return (
            f"The curriculum never draws start_sizes={_shown(curriculum.start_sizes)} "
            "only: schedule='constant' draws from the end sizes from the first "
            "iteration on. Remove start_sizes, or set schedule to 'linear', 'cosine' "
            "or 'step'."
        )
    start, final = set(sizes_at(0.0)), set(sizes_at(1.0))
    drawn = {size for fraction in fractions for size in sizes_at(fraction)}
    missing = sorted(final - drawn, key=side_length)
    if missing:
        return _never_ends(curriculum, missing, fractions, by_epoch)
    levels = {curriculum.growth(fraction) for fraction in fractions}
    if levels == {1.0}:
        name = "milestones" if curriculum.schedule == "step" else "end"
        return (
            "The curriculum never draws from its start sizes only: the growth is "
            f"complete at the first iteration ({_settings(curriculum)}). "
            f"Set {name} above 0, or schedule='constant' if that is meant."
        )
    if start == final:
        return (
            "The curriculum has nothing to grow: the sizes at the start and at the end "
            f"are the same, {_shown(sorted(final, key=side_length))}. Set start_sizes "
            "to some of the sampler's sizes, or schedule='constant' if that is meant."
        )
    if by_epoch and not _meets_growth(curriculum, fractions):
        return (
            f"The curriculum grows at once: none of the {len(fractions)} epochs begins "
            f"while it grows ({_settings(curriculum)}), and by_epoch=True looks the "
            "sizes up when an epoch begins, here after "
            f"{_listed(fractions)} of the training. Set {_wider(curriculum)}, or "
            "by_epoch=False."
        )
    return None


def _never_ends(
    curriculum: ResolutionCurriculum,
    missing: Sequence[Size],
    fractions: Sequence[float],
    by_epoch: bool,
) -> str:
    name = "the last of milestones" if curriculum.schedule == "step" else "end"
    last = fractions[-1]
    # Rounded down, so that the last lookup is not before it.
    latest = math.floor(last * 100 + 1e-6) / 100
    remedies = []
    if by_epoch:
        where = (
            f"the last of {len(fractions)} epochs begins after {last:.3g} of the "
            "training, and by_epoch=True looks the sizes up when an epoch begins"
        )
        if latest > 0 and _end_of_growth(curriculum) > latest:
            remedies.append(f"{name} to at most {latest:g}")
        only = "" if _end_of_growth(curriculum) < 1 else f" with {name} below 1"
        remedies.append(f"by_epoch=False{only}")
    else:
        where = "the growth is complete only after the last iteration"
        remedies.append(f"{name} to less than 1, such as 0.8")
    return (
        f"The curriculum never draws {_shown(missing)}: {where} "
        f"({_settings(curriculum)}). Set {' or '.join(remedies)}."
    )


def _end_of_growth(curriculum: ResolutionCurriculum) -> float:
    if curriculum.schedule == "step":
        assert curriculum.milestones is not None
        return curriculum.milestones[-1]
    return curriculum.end


def _meets_growth(curriculum: ResolutionCurriculum, fractions: Sequence[float]) -> bool:
    """Return whether a fraction lies between the begin and the end of the growth."""
    if curriculum.schedule == "step":
        assert curriculum.milestones is not None
        levels = [curriculum.growth(fraction) for fraction in fractions]
        return len(curriculum.milestones) < 2 or any(0 < level < 1 for level in levels)
    if curriculum.begin == curriculum.end:
        return True  # growth in one step is what was set
    return any(curriculum.begin < f < curriculum.end for f in fractions)


def _wider(curriculum: ResolutionCurriculum) -> str:
    if curriculum.schedule == "step":
        return "milestones further apart"
    return "begin and end further apart"


def _settings(curriculum: ResolutionCurriculum) -> str:
    if curriculum.schedule == "step":
        assert curriculum.milestones is not None
        return f"milestones={[round(m, 4) for m in curriculum.milestones]}"
    return f"begin={curriculum.begin:g}, end={curriculum.end:g}"


def _listed(fractions: Sequence[float]) -> str:
    shown = [f"{fraction:.3g}" for fraction in fractions]
    if len(shown) > 12:
        shown = [*shown[:5], "...", *shown[-2:]]
    return ", ".join(shown)


def _shown(sizes: Sequence[Size]) -> str:
    return ", ".join(map(size_text, sizes))
