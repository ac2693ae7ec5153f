"""Models that are bound to one input size, as far as a config shows it."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Mapping, Optional, Tuple

from .config_edits import kind_of, short

# Arguments that give a network its input size.
_INPUT_SIZE = ("img_size", "image_size", "input_size", "input_resolution")

_CLASSIFIER = "its fully connected layers take maps of one size alone"
_POSITIONS = "its position embeddings are made for one input size"
_MASKS = "its masks and position embeddings are made for one input size"
_QUEUE = "its queue takes batches of one size alone"

# Types whose config need not say it, mmpretrain's.
_FIXED: Dict[str, str] = {
    "EfficientFormer": "its attention biases are made for one input size",
    "LeNet5": _CLASSIFIER,
    "MixMIMTransformer": _POSITIONS,
    "PyramidVig": _POSITIONS,
    "Vig": _POSITIONS,
    **dict.fromkeys(
        (
            "BEiTPretrainViT",
            "CAEPretrainViT",
            "MAEHiViT",
            "MAEViT",
            "MFFViT",
            "MILANViT",
            "MaskFeatViT",
            "MixMIMPretrainTransformer",
            "iTPNHiViT",
        ),
        _MASKS,
    ),
    "DenseCL": _QUEUE,
    "MoCo": _QUEUE,
    "SwAV": _QUEUE,
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
        if name in _FIXED:
            return own, f"{name}: {_FIXED[name]}"
        if name == "VGG" and (config.get("num_classes") or 0) > 0:
            return own, f"{name}: {_CLASSIFIER}"
        if name == "DaViT" and not config.get("pad_small_map"):
            return own, f"{name}: its windows need pad_small_map=True at smaller sizes"
        for key in _INPUT_SIZE:
            value = config.get(key)
            sides = value if isinstance(value, (list, tuple)) else [value]
            if sides and all(isinstance(side, int) and side > 1 for side in sides):
                what = name or "the model"
                return f"{own}.{key}", f"{what} is built for {short(value)} pixels"
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
