"""Check whether a model can be trained at several input sizes."""

from __future__ import annotations

import copy
from typing import (
    Any,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

from ..multi_scale.sizes import Size, side_length, size_text
from ..utils.config_types import kind_of
from .config_edits import RecipeError, nested_configs, short
from .model_run import ModelRun, model_run

# Arguments that set the input size of a network.
_INPUT_SIZE = ("img_size", "image_size", "input_size", "input_resolution")

_CLASSIFIER = "its fully connected layers take feature maps of one size only"
_POSITIONS = "its position embeddings are made for one input size"
_MASKS = "its masks and position embeddings are made for one input size"
_QUEUE = "its queue takes batches of one size only"

# Models of mmpretrain with a fixed input size that need not be in the config.
_FIXED: Dict[str, str] = {
    "EfficientFormer": "its attention biases are made for one input size",
    "LeNet5": _CLASSIFIER,
    "MixMIMTransformer": _POSITIONS,
    "PyramidVig": _POSITIONS,
    "Vig": _POSITIONS,
}

# Models of mmpretrain that run at other sizes, but do not learn correctly.
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


CHECKS = ("run", "names", False)
"""Ways to check a model, see :func:`checked_model`."""


class CheckedModel(NamedTuple):
    """Result of :func:`checked_model`.

    Attributes:
        sizes: ``(height, width)`` in pixels at which the model can be trained.
        model: Config of the model, changed if that lets it run at more sizes.
        lines: Lines to report.
    """

    sizes: Tuple[Size, ...]
    model: Any
    lines: List[str]


def checked_model(
    config: Mapping,
    base_size: Size,
    sizes: Sequence[Size],
    check: Any = "run",
    sizes_given: bool = False,
    images: Optional[Mapping[Size, int]] = None,
) -> CheckedModel:
    """Check that a model can be trained at several sizes.

    Args:
        config: The whole config.
        base_size: ``(height, width)`` in pixels that the config is made for.
        sizes: ``(height, width)`` in pixels to train at.
        check: ``'run'`` builds the model and runs it at every size without data, and
            falls back to ``'names'`` if that is not possible. ``'names'`` looks at the
            config only. False does not check. Defaults to ``'run'``.
        sizes_given: The user set the sizes, so none is left out. Defaults to False.
        images: Images per rank of a batch by size. Some models do not train on one.
            Defaults to None: more than one.

    Raises:
        RecipeError: If the model does not run at the sizes, or does not learn correctly
            at them.
        ValueError: If ``check`` is not one of the three.
    """
    if check is True:  # as in versions in which check_model was a bool
        check = "run"
    if not (check is False or check in ("run", "names")):
        raise ValueError(
            f"check_model must be one of {list(CHECKS)}, but got {check!r}"
        )
    unchanged = CheckedModel(tuple(sizes), config.get("model"), [])
    if check is False:
        return unchanged
    found = learns_wrongly(config.get("model"))
    if found is not None:
        raise _refusal(*found)
    run = model_run(config, base_size) if check == "run" else None
    if run is None:
        found = fixed_input(config.get("model"))
        if found is not None:
            raise _refusal(*found)
        if check == "names":
            return unchanged
        return unchanged._replace(
            lines=[
                "model: only its config was checked, since it does not run without data"
            ]
        )
    checked = _run_at(run, config, base_size, sizes, sizes_given)
    return _run_on_one_image(run, base_size, checked, sizes_given, images or {})


def _run_on_one_image(
    run: ModelRun,
    base_size: Size,
    checked: CheckedModel,
    sizes_given: bool,
    images: Mapping[Size, int],
) -> CheckedModel:
    """Check the sizes whose batches have a single image on a rank.

    Batch norm over pooled features, as in PSPNet, has one value per channel there. In
    SyncBN it has those of the other ranks.
    """
    single = [size for size in checked.sizes if images.get(size) == 1]
    if base_size in single:  # as in the training that is converted
        return checked
    failing = [size for size in single if run.failure(size, 1) is not None]
    if not failing:
        return checked
    names = ", ".join(size_text(size) for size in failing)
    reason = run.failure(failing[0], 1)
    if run.synchronizes:
        line = (
            f"warning: at {names} a batch has one image, on which the model does not "
            f"train with a single rank ({reason}); with SyncBN on several ranks it "
            "does. For one rank, leave out these sizes or raise "
            "train_dataloader.batch_size"
        )
        return checked._replace(lines=[*checked.lines, line])
    if sizes_given:
        raise RecipeError(
            "sizes",
            f"at {names} a batch has one image, on which the model does not train "
            f"({reason}); leave them out, or raise train_dataloader.batch_size; "
            "check_model=False converts the config anyway",
        )
    line = (
        f"model: does not train on one image, so sizes with such batches are left out: "
        f"{names}"
    )
    sizes = tuple(size for size in checked.sizes if size not in failing)
    return checked._replace(sizes=sizes, lines=[*checked.lines, line])


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
            f"must have sides of at least {run.stride} pixels, the model's stride, but "
            f"got {size_text(too_small[0])}",
        )
    large_enough = [s for s in ordered if s not in too_small]
    failing = _failing(run, large_enough)
    if failing and run.takes_small_maps:
        changed: Any = copy.deepcopy(model)
        changed["backbone"]["pad_small_map"] = True
        padded = model_run({**dict(config.items()), "model": changed}, base_size)
        still = failing if padded is None else _failing(padded, large_enough)
        if padded is not None and len(still) < len(failing):
            run, model, failing = padded, changed, still
            lines.append("model.backbone.pad_small_map: False -> True")
    taken = [size for size in large_enough if size not in failing]
    if failing or too_small:
        # Without a size below the base size, the training would not become cheaper.
        cheaper = bool(taken) and side_length(taken[0]) < side_length(base_size)
        if sizes_given or base_size not in taken or not cheaper:
            if failing:
                raise _cannot_run(run, config, failing[0])
            raise _refusal(
                "model",
                f"has a stride of at least {run.stride} pixels, more than a side of "
                f"{size_text(too_small[-1])}, so no size below the base size, "
                f"{size_text(base_size)}, is left",
            )
        left = ", ".join(size_text(s) for s in ordered if s not in taken)
        lines.append(f"model: does not run at {left}, so these sizes are left out")
    lines.append(
        f"model: runs from {size_text(taken[0])} to {size_text(taken[-1])} "
        f"({run.ran} was run)"
    )
    found = anchors_of_one_size(model)
    if found is not None:
        lines.append(f"note: {found[0]}: {found[1]}")
    return CheckedModel(tuple(s for s in sizes if s in taken), model, lines)


def _failing(run: ModelRun, sizes: Sequence[Size]) -> List[Size]:
    """Return the sizes at which the model does not run."""
    return [size for size in sizes if run.failure(size) is not None]


def _cannot_run(run: ModelRun, config: Mapping, size: Size) -> RecipeError:
    found = fixed_input(config.get("model"))
    place = "model" if found is None else found[0]
    return _refusal(place, f"at {size_text(size)} it fails: {run.failure(size)}")


def _refusal(place: str, reason: str) -> RecipeError:
    return RecipeError(place, f"{reason}; check_model=False converts the config anyway")


def learns_wrongly(model: Any) -> Optional[Tuple[str, str]]:
    """Return the part of a model that runs at other sizes, but does not learn.

    Args:
        model: Config of the model.

    Returns:
        ``(place, reason)``; ``None`` if the config does not show one.
    """
    for own, config in nested_configs(model, "model"):
        name = kind_of(config).name
        if name in _LEARNS_WRONGLY:
            return own, f"{name}: {_LEARNS_WRONGLY[name]}"
    return None


def anchors_of_one_size(model: Any) -> Optional[Tuple[str, str]]:
    """Return the part of a model whose anchors are made for one input size.

    Args:
        model: Config of the model.

    Returns:
        ``(place, reason)``; ``None`` if the config does not show one.
    """
    for own, config in nested_configs(model, "model"):
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
                f"{name}'s strides are no whole numbers: its anchors are made for one "
                "input size",
            )
    return None


def fixed_input(model: Any) -> Optional[Tuple[str, str]]:
    """Return the part of a model that takes inputs or batches of one size only.

    Args:
        model: Config of the model.

    Returns:
        ``(place, reason)``; ``None`` if the config does not show one.
    """
    found = learns_wrongly(model) or anchors_of_one_size(model)
    if found is not None:
        return found
    for own, config in nested_configs(model, "model"):
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
