"""Convert the training data loader: its batch sampler and dataset."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Optional

from ..analysis.config_plan import BY_ASPECT_RATIO, PLAIN_BATCH_SAMPLERS
from ..utils.config_types import kind_of
from ..utils.validation import parse_int
from .config_edits import RecipeError, short

__all__ = [
    "LOADER",
    "SAMPLER",
    "OldBatchSampler",
    "checked_loader",
    "old_batch_sampler",
]

LOADER = "train_dataloader"
SAMPLER = "MultiScaleVariableBatchSampler"

_REFUSED_SAMPLERS = {
    "MultiSourceSampler": "its batches have a fixed share of each source",
    "GroupMultiSourceSampler": "its batches have a fixed share of each source",
    "TrackImgSampler": "its indices are pairs of a video and a frame",
}


class OldBatchSampler(NamedTuple):
    """The batch sampler of a config.

    Attributes:
        name: Its class name; empty for the loader's own.
        by_aspect_ratio: Whether it puts images of the same orientation into a batch.
        drop_last: As the config has it; ``None`` if it does not say.
    """

    name: str
    by_aspect_ratio: bool
    drop_last: Optional[bool]


def checked_loader(config: Mapping) -> Mapping:
    """Return the training loader of a config.

    Raises:
        RecipeError: If it is incomplete, or its sampler needs batches of its own kind.
    """
    loader = config.get(LOADER)
    if not isinstance(loader, Mapping):
        raise RecipeError(
            LOADER, f"must be a data loader's config, but is {short(loader)}"
        )
    for key in ("dataset", "sampler", "batch_size"):
        if loader.get(key) is None:
            raise RecipeError(f"{LOADER}.{key}", "is missing")
    parse_int(loader["batch_size"], f"{LOADER}.batch_size")
    if not isinstance(loader["sampler"], Mapping):
        raise RecipeError(
            f"{LOADER}.sampler",
            f"must be a sampler's config, but is {short(loader['sampler'])}",
        )
    name = kind_of(loader["sampler"]).name
    if name in _REFUSED_SAMPLERS:
        raise RecipeError(f"{LOADER}.sampler", f"{name}: {_REFUSED_SAMPLERS[name]}")
    return loader


def old_batch_sampler(loader: Mapping) -> OldBatchSampler:
    """Return the batch sampler of a training loader.

    Raises:
        RecipeError: If it makes batches in a way that cannot be replaced.
    """
    config = loader.get("batch_sampler")
    drop_last = loader.get("drop_last")
    if config is None:
        return OldBatchSampler("", False, drop_last)
    place = f"{LOADER}.batch_sampler"
    if not isinstance(config, Mapping):
        raise RecipeError(
            place, f"must be a batch sampler's config, but is {short(config)}"
        )
    name = kind_of(config).name
    if not name:
        raise RecipeError(
            place,
            f"has no type: {short(config)}; what belongs to {SAMPLER} is an option "
            "of the recipe, such as sizes=[...]",
        )
    if name == SAMPLER:
        raise RecipeError(
            place, f"is {SAMPLER} already; the recipe is for configs without it"
        )
    if name not in PLAIN_BATCH_SAMPLERS:
        raise RecipeError(
            place,
            f"{name} makes batches in its own way and cannot be replaced; only "
            f"{', '.join(PLAIN_BATCH_SAMPLERS)} can",
        )
    images, own = loader["batch_size"], config.get("batch_size")
    if own not in (None, images):
        raise RecipeError(
            f"{place}.batch_size",
            f"is {own}, which MMEngine uses instead of {LOADER}.batch_size={images}; "
            f"set {LOADER}.batch_size={own}",
        )
    return OldBatchSampler(
        name, name in BY_ASPECT_RATIO, config.get("drop_last", drop_last)
    )
