"""Walk through configs of transforms inside wrappers such as ``RandomChoice``."""

from __future__ import annotations

from typing import List, Mapping, Sequence

__all__ = ["APPLY", "CHOICE", "TRANSPARENT", "branches"]

TRANSPARENT = (
    "ProposalBroadcaster",
    "TransformBroadcaster",
    "KeyMapper",
    "ApplyToList",
    "MultiView",
    "Compose",
)
"""A sample passes all transforms inside of these."""

CHOICE = "RandomChoice"
"""A sample passes one branch of it."""

APPLY = "RandomApply"
"""A sample passes all transforms inside of it or none."""


def branches(name: str, transform: Mapping) -> List[Sequence[Mapping]]:
    """Return the pipelines inside a wrapper, of which each may give the image.

    Args:
        name: Name of the wrapper's class, without its library.
        transform: Its config.

    Returns:
        One pipeline of a wrapper that a sample passes as a whole, several of
        ``RandomChoice``, ``MultiView`` and ``RandomApply``; none for other transforms.
    """
    inner = transform.get("transforms")
    if name not in (*TRANSPARENT, CHOICE, APPLY) or not inner:
        return []
    inner = list(inner) if isinstance(inner, (list, tuple)) else [inner]
    if name in (CHOICE, "MultiView"):
        return [list(b) if isinstance(b, (list, tuple)) else [b] for b in inner]
    return [inner, []] if name == APPLY else [inner]
