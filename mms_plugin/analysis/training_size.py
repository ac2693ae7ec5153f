"""Find the size of the training images in a config's pipeline."""

from __future__ import annotations

from typing import Any, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from mmengine.registry import TRANSFORMS

from ..multi_scale.multi_scale_transform import MultiScaleTransform
from ..multi_scale.sizes import Size
from ..utils.config_types import class_name
from ..utils.nested_transforms import branches

__all__ = [
    "PHOTOGRAPH",
    "counted_size",
    "fixed_size",
    "fixed_size_with_note",
    "keeps_ratio",
]

# Transforms that take one side and give squares.
_SQUARE = ("EfficientNetRandomCrop", "EfficientNetCenterCrop")
# Its size is given, and stays, where a resize that keeps the ratio follows.
_CROP_AND_PAD = "RandomCenterCropPad"

PHOTOGRAPH = (4, 3)
"""Long and short side of most photographs."""
_LONG, _SHORT = PHOTOGRAPH


def fixed_size(config: Any) -> Tuple[Size, Size]:
    """Return the size of the batches of a config without the sampler.

    Returns:
        ``(height, width)`` that its pipeline sets, and that of the images, another
        one where their ratio is kept.

    Raises:
        ValueError: Its pipeline gives several, or none that is known.
    """
    size, counted, _ = fixed_size_with_note(config)
    return size, counted


def counted_size(config: Any, size: Size) -> Size:
    """Return the size of a batch's images, which may keep their own aspect ratio.

    Args:
        config: With :class:`MultiScaleVariableBatchSampler`.
        size: ``(height, width)`` of the batch.
    """
    return _photograph(size) if keeps_ratio(config) else size


def _pipeline(dataset: Any) -> List[Mapping]:
    """Return the transforms of a dataset and of the first that it wraps, in order."""
    if not isinstance(dataset, Mapping):
        return []
    inner = dataset.get("dataset")
    if inner is None and dataset.get("datasets"):
        inner = dataset["datasets"][0]
    return [*_pipeline(inner), *(dataset.get("pipeline") or [])]


def keeps_ratio(config: Any) -> bool:
    """Return whether images keep their ratio within the size of their batch.

    Args:
        config: With :class:`MultiScaleVariableBatchSampler`.
    """
    loader = config.get("train_dataloader") or {}
    return _ratio_kept_after(_pipeline(loader.get("dataset")), False)


def _ratio_kept_after(pipeline: Iterable[Mapping], keeps: bool) -> bool:
    """Return whether the last transform that sets a size keeps the ratio.

    In a random choice that of every branch.
    """
    for transform in pipeline:
        name = class_name(transform["type"])
        ends = [_ratio_kept_after(part, keeps) for part in branches(name, transform)]
        if name == _CROP_AND_PAD:
            return False
        if ends:
            keeps = all(ends)
        elif name == "MultiScaleTransform":
            # ResizeShortestEdge keeps it within scale and max_size.
            keeps = bool(transform["transform"].get("keep_ratio"))
            keeps |= "max_size" in (transform.get("size_arg") or ())
        elif name.startswith("MultiScale"):
            keeps = bool(transform.get("keep_ratio"))
        elif transform.get("pad_to_square"):  # YOLOX
            keeps = False
    return keeps


class _SetSize(NamedTuple):
    """The size that a part of a pipeline sets.

    Attributes:
        size: ``(height, width)``; ``None`` where it is not known.
        counted: That of the images, which may keep their ratio within the size.
        note: What was assumed, or why the size is not known.
    """

    size: Optional[Size]
    counted: Optional[Size]
    note: str


def fixed_size_with_note(config: Any) -> Tuple[Size, Size, Optional[str]]:
    """Return what :func:`fixed_size` does, and what was assumed, if anything."""
    found = _SetSize(None, None, "no transform of its pipeline sets one")
    loader = config.get("train_dataloader") or {}
    found = _size_after_dataset(loader.get("dataset"), found)
    model = config.get("model")
    own = model.get("data_preprocessor") if isinstance(model, Mapping) else None
    preprocessor = own or config.get("data_preprocessor") or {}
    augments = preprocessor.get("batch_augments")
    # mmpretrain's are a mapping; none of them resizes.
    for augment in augments if isinstance(augments, (list, tuple)) else ():
        if "Resize" in class_name(augment["type"]):
            found = _several(class_name(augment["type"]))
    if found.size is None or found.counted is None:
        raise ValueError(f"the size of the training images is not known: {found.note}")
    return found.size, found.counted, found.note or None


def _size_after_dataset(dataset: Any, found: _SetSize) -> _SetSize:
    """Return the size after the pipelines of a dataset and of those that it wraps."""
    if not isinstance(dataset, Mapping):
        return found
    parts = [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets")
    ends = [_size_after_dataset(part, found) for part in parts or ()]
    if ends:
        alike = all(end[:2] == ends[0][:2] for end in ends)
        found = ends[0] if alike else _several(class_name(dataset["type"]))
    return _size_after(dataset.get("pipeline") or [], found)


def _size_after(pipeline: Iterable[Mapping], found: _SetSize) -> _SetSize:
    """Return the size after a pipeline, from that before it."""
    for transform in pipeline:
        name = class_name(transform["type"])
        ends = [_size_after(branch, found) for branch in branches(name, transform)]
        if not ends:
            found = _size_set_by(transform, name, found)
        elif all(end[:2] == ends[0][:2] for end in ends):
            found = ends[0]
        else:
            found = _several(name)
    return found


def _several(name: str) -> _SetSize:
    return _SetSize(None, None, f"{name} gives more than one")


def _size_set_by(transform: Mapping, name: str, found: _SetSize) -> _SetSize:
    """Return the size after a transform, from that before it."""
    if name == "RandomChoiceResize":
        return _several(name)
    if transform.get("pad_to_square") and found.size is not None:  # YOLOX
        side = max(found.size)
        return _SetSize((side, side), (side, side), "")
    value, order = _size_of(transform)
    if value is None:
        return found
    keeps, longest, text = transform.get("keep_ratio"), transform.get("max_size"), ""
    if order in ("short", "long"):
        if not isinstance(value, int):
            return _several(name)
        size = _photograph_of_edge(value, order)
        if name == "ResizeShortestEdge" and isinstance(longest, int):
            size, keeps = (value, longest), True
        else:
            text = f"{name} sets the {order} edge only"
    else:
        value = (value, value) if isinstance(value, int) else tuple(value)
        if not all(isinstance(side, int) for side in value) or len(value) != 2:
            return _several(name)
        size = value if order == "hw" else value[::-1]
    counted = size
    if keeps and found.size and not found.note:  # all images have this ratio
        counted = _within(found.size, size)
    elif keeps:
        text = f"{name} keeps the ratio within {size[1]} x {size[0]}"
        counted = _photograph(size)
    if text:
        text = (
            f"{text}: counted at {counted[0]} x {counted[1]} (height x width), a "
            f"{_LONG}:{_SHORT} photograph; --base-size sets another"
        )
    return _SetSize(size, counted, text)


def _size_of(transform: Mapping) -> Tuple[Any, str]:
    """Return the value of the argument that takes a transform's size, and its order."""
    kind = transform["type"]
    with TRANSFORMS.switch_scope_and_registry(None) as registry:
        if isinstance(kind, str) and registry.get(kind) is None:
            raise ValueError(
                f"the size of the training images is not known: the transform {kind} "
                "is not registered; import it by custom_imports"
            )
    try:
        known = MultiScaleTransform(transform)
    except ValueError:  # it takes none
        return None, ""
    values = [transform.get(argument) for argument in known.size_arg]
    if any(value is None for value in values):
        return None, ""
    value, order = values[0] if len(values) == 1 else tuple(values), known.order
    sides = value if isinstance(value, (list, tuple)) else [value]
    if all(isinstance(side, float) for side in sides):  # factors, not pixels
        return None, ""
    name = class_name(kind)
    if name == "RandomAffine":  # its border adds to the size, mostly after a Mosaic
        return None, ""
    if name in _SQUARE:
        order = "hw"
    elif name == "ResizeEdge" and transform.get("edge") == "long":
        order = "long"
    elif "torchvision/" in str(kind):
        # One number is a square of its crops and the short edge of its Resize.
        if isinstance(value, (list, tuple)) and len(value) == 1:
            value = value[0]
        if name == "Resize" and isinstance(value, int):
            order = "short"
    return value, order


def _within(image: Size, bounds: Size) -> Size:
    """Return an image's size rescaled as mmdet's resizes with ``keep_ratio`` do."""
    factor = min(max(bounds) / max(image), min(bounds) / min(image))
    return int(image[0] * factor + 0.5), int(image[1] * factor + 0.5)


def _photograph(bounds: Size) -> Size:
    """Return the size of a photograph rescaled into ``(height, width)`` bounds."""
    sides = _within((_SHORT, _LONG), bounds)
    return sides if bounds[0] <= bounds[1] else sides[::-1]


def _photograph_of_edge(edge: int, which: str) -> Size:
    if which == "short":
        return edge, int(edge * _LONG / _SHORT + 0.5)
    return int(edge * _SHORT / _LONG + 0.5), edge
