"""Models that are bound to one input size, as far as a config shows it."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from .config_edits import kind_of, short

# Arguments that give a network its input size.
_INPUT_SIZE = ("img_size", "image_size", "input_size", "input_resolution")

# Types whose config need not say it.
_FIXED: Dict[str, str] = {}
_FIXED_BATCH = {
    "MoCo": "its queue takes batches of one size alone",
    "DenseCL": "its queue takes batches of one size alone",
    "SwAV": "its queue takes batches of one size alone",
}


def fixed_input(model: Any, place: str = "model") -> Optional[Tuple[str, str]]:
    """Where and why a model takes inputs or batches of one size alone.

    Args:
        model: The model's config.
        place: Its place.

    Returns:
        ``(place, reason)``; ``None`` if nothing in the config says so.
    """
    for own, config in _components(model, place):
        name = kind_of(config).name
        for table in (_FIXED, _FIXED_BATCH):
            if name in table:
                return own, f"{name}: {table[name]}"
        for key in _INPUT_SIZE:
            value = config.get(key)
            sides = value if isinstance(value, (list, tuple)) else [value]
            if sides and all(isinstance(side, int) and side > 1 for side in sides):
                return (
                    f"{own}.{key}",
                    f"{name} is built for inputs of {short(value)} pixels",
                )
        strides = config.get("strides")
        if not isinstance(strides, (list, tuple)):
            strides = ()
        if "Anchor" in name and any(
            isinstance(stride, float) and stride % 1 for stride in strides
        ):
            return (
                f"{own}.strides",
                f"{name}'s strides are no whole numbers: its anchors are laid out for "
                "one input size",
            )
    return None


def _components(config: Any, place: str) -> Iterator[Tuple[str, Mapping]]:
    if isinstance(config, Mapping):
        yield place, config
        for key, value in config.items():
            yield from _components(value, f"{place}.{key}")
    elif isinstance(config, (list, tuple)):
        for index, value in enumerate(config):
            yield from _components(value, f"{place}[{index}]")
