"""Models that are bound to one input size: asked, or as far as a config shows it."""

from __future__ import annotations

import copy
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from ..multi_scale.sizes import Size, side_length
from .config_edits import RecipeError, kind_of, short
from .model_run import ModelRun, model_run

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
}

# Those that run at other sizes, mmpretrain's.
_LEARNS_WRONGLY: Dict[str, str] = {
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


WAYS = ("run", "names", False)
"""How a model is checked: see :func:`checked_model`."""


class CheckedModel(NamedTuple):
    """What the check of a model found.

    Attributes:
        sizes: ``(height, width)``: those at which it can be trained.
        model: Its config, changed where that lets it take more sizes.
        lines: What to report.
    """

    sizes: Tuple[Size, ...]
    model: Any
    lines: List[str]


def checked_model(
    config: Mapping,
    base_size: Size,
    sizes: Sequence[Size],
    way: Any = "run",
    sizes_given: bool = False,
) -> CheckedModel:
    """Refuse a model that is bound to one input size.

    Args:
        config: The whole config.
        base_size: ``(height, width)`` that it is for.
        sizes: ``(height, width)`` to train at.
        way: ``'run'``: build it and run it at the largest and the smallest size, on
            fake tensors; what cannot be built or run so is judged as by ``'names'``.
            ``'names'``: by what the config shows. ``False``: not at all.
        sizes_given: The user has named the sizes: none is left out.

    Raises:
        RecipeError: The model does not take the sizes, or learns wrongly at them.
        ValueError: ``way`` is none of the three.
    """
    if way is True:  # as it was before there was more than one way
        way = "run"
    if not (way is False or way in ("run", "names")):
        raise ValueError(f"check_model must be one of {list(WAYS)}, but got {way!r}")
    unchanged = CheckedModel(tuple(sizes), config.get("model"), [])
    if way is False:
        return unchanged
    found = learns_wrongly(config.get("model"))
    if found is not None:
        raise _refusal(*found)
    run = model_run(config, base_size) if way == "run" else None
    if run is None:
        found = fixed_input(config.get("model"))
        if found is not None:
            raise _refusal(*found)
        if way == "names":
            return unchanged
        return unchanged._replace(
            lines=["model: judged by its config, since it does not run without data"]
        )
    return _run_at(run, config, base_size, sizes, sizes_given)


def _run_at(
    run: ModelRun,
    config: Mapping,
    base_size: Size,
    sizes: Sequence[Size],
    sizes_given: bool,
) -> CheckedModel:
    ordered = sorted(sizes, key=side_length)
    model, lines = config.get("model"), []
    too_small = [s for s in ordered if run.stride and min(s) < run.stride]
    if too_small and sizes_given:
        raise RecipeError(
            "sizes",
            f"must be at least {run.stride} pixels a side, which is the model's "
            f"stride, but got {_text(too_small[0])}",
        )
    ordered = [s for s in ordered if s not in too_small]
    failure = run.failure(ordered[0])
    if failure is not None and run.takes_small_maps:
        changed: Any = copy.deepcopy(model)
        changed["backbone"]["pad_small_map"] = True
        padded = model_run({**dict(config.items()), "model": changed}, base_size)
        if padded is not None and padded.failure(ordered[0]) is None:
            run, model, failure = padded, changed, None
            lines.append("model.backbone.pad_small_map: False -> True")
    taken = ordered
    if failure is not None or run.failure(ordered[-1]) is not None:
        if sizes_given:
            size = ordered[0] if failure is not None else ordered[-1]
            raise _cannot_run(run, config, size)
        taken = _those_that_run(run, ordered)
        # Without a smaller size nothing is saved, and little is learned.
        if base_size not in taken or side_length(taken[0]) >= side_length(base_size):
            failing = next(s for s in ordered if s not in taken)
            raise _cannot_run(run, config, failing)
        left = ", ".join(_text(size) for size in ordered if size not in taken)
        lines.append(f"model: it does not run at {left}; the other sizes are drawn")
    lines.append(
        f"model: runs from {_text(taken[0])} to {_text(taken[-1])} ({run.ran} was run)"
    )
    found = anchors_of_one_size(model)
    if found is not None:
        lines.append(f"note: {found[0]}: {found[1]}")
    return CheckedModel(tuple(s for s in sizes if s in taken), model, lines)


def _those_that_run(run: ModelRun, ordered: Sequence[Size]) -> List[Size]:
    """Return the sizes between the first and the last at which the model runs."""
    runs = list(ordered)
    while runs and run.failure(runs[0]) is not None:
        del runs[0]
    while runs and run.failure(runs[-1]) is not None:
        del runs[-1]
    return runs


def _cannot_run(run: ModelRun, config: Mapping, size: Size) -> RecipeError:
    found = fixed_input(config.get("model"))
    place = "model" if found is None else found[0]
    return _refusal(place, f"at {_text(size)} it fails: {run.failure(size)}")


def _refusal(place: str, reason: str) -> RecipeError:
    return RecipeError(
        place, f"{reason}; check_model=False converts the config all the same"
    )


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def learns_wrongly(model: Any, place: str = "model") -> Optional[Tuple[str, str]]:
    """Return where and why a model runs at other sizes, but learns wrongly.

    Args:
        model: The model's config.
        place: Its place.

    Returns:
        ``(place, reason)``; ``None`` if nothing in the config says so.
    """
    for own, config in _components(model, place):
        name = kind_of(config).name
        if name in _LEARNS_WRONGLY:
            return own, f"{name}: {_LEARNS_WRONGLY[name]}"
    return None


def anchors_of_one_size(model: Any, place: str = "model") -> Optional[Tuple[str, str]]:
    """Return where and why a model's anchors are laid out for one input size.

    Args:
        model: The model's config.
        place: Its place.

    Returns:
        ``(place, reason)``; ``None`` if nothing in the config says so.
    """
    for own, config in _components(model, place):
        name, strides = kind_of(config).name, config.get("strides")
        if "Anchor" not in name:
            continue
        if isinstance(config.get("input_size"), int):
            size = config["input_size"]
            return f"{own}.input_size", f"{name} is built for {size} pixels"
        if isinstance(strides, (list, tuple)) and any(
            isinstance(stride, float) and stride % 1 for stride in strides
        ):
            return (
                f"{own}.strides",
                f"{name}'s strides are no whole numbers: its anchors are laid out for "
                "one input size",
            )
    return None


def fixed_input(model: Any, place: str = "model") -> Optional[Tuple[str, str]]:
    """Return where and why a model takes inputs or batches of one size only.

    Args:
        model: The model's config.
        place: Its place.

    Returns:
        ``(place, reason)``; ``None`` if nothing in the config says so.
    """
    found = learns_wrongly(model, place) or anchors_of_one_size(model, place)
    if found is not None:
        return found
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
    return None


def _components(config: Any, place: str) -> Iterator[Tuple[str, Mapping]]:
    if isinstance(config, Mapping):
        yield place, config
        for key, value in config.items():
            yield from _components(value, f"{place}.{key}")
    elif isinstance(config, (list, tuple)):
        for index, value in enumerate(config):
            yield from _components(value, f"{place}[{index}]")
