"""A test pipeline at another size: pure functions on configs."""

from __future__ import annotations

import copy
import math
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from ..utils.config_types import kind_of
from ..utils.validation import is_integer, is_number

__all__ = [
    "change_pipelines",
    "describe_sizes",
    "first_pipeline",
    "pipeline_at_size",
    "pipeline_size",
]

Pipeline = Sequence[Mapping[str, Any]]

# The arguments that hold the size in pixels, by the transform's name without its
# library: the same in mmcv, mmdet, mmpretrain and (``torchvision/...``) torchvision.
_SIZE_ARGS: Dict[str, Tuple[str, ...]] = {
    "Resize": ("scale", "size", "max_size"),
    "ResizeEdge": ("scale",),
    "ResizeShortestEdge": ("scale", "max_size"),
    "FixScaleResize": ("scale",),
    "FixShapeResize": ("width", "height"),
    "CenterCrop": ("crop_size", "size"),
    # Its padding is in pixels of the crop: the share of the image that is cropped
    # away stays.
    "EfficientNetCenterCrop": ("crop_size", "crop_padding"),
    "Pad": ("size",),
}
# Of the arguments above, those that bound a size or pad it and do not set it.
_NOT_THE_SIDE = ("max_size", "crop_padding")


def _is_side(value: Any) -> bool:
    """Return whether it is a length: -1 and infinity stand for no bound in Resize."""
    return is_number(value) and 0 < value < math.inf


def transform_size(transform: Mapping[str, Any]) -> Optional[float]:
    """Return the shorter side that a transform sets in pixels, None if it sets none."""
    sides: List[float] = []
    for name in _SIZE_ARGS.get(kind_of(transform).name, ()):
        if name in _NOT_THE_SIDE:
            continue
        value = transform.get(name)
        values = value if isinstance(value, (list, tuple)) else [value]
        sides += [float(side) for side in values if side and _is_side(side)]
    return min(sides) if sides else None


def pipeline_size(pipeline: Pipeline) -> int:
    """Return the size that a test pipeline gives the network.

    Args:
        pipeline: Configs of transforms.

    Returns:
        The shorter side in pixels of the last transform that sets a size: of the
        crop after a resize, 800 for ``Resize(scale=(1333, 800), keep_ratio=True)``.

    Raises:
        ValueError: No transform sets a size.
    """
    sizes = [size for size in map(transform_size, pipeline) if size is not None]
    if not sizes:
        names = ", ".join(kind_of(item).name or repr(item) for item in pipeline)
        raise ValueError(
            f"no size is found in the test pipeline [{names}]: none of "
            f"its transforms is one of {', '.join(sorted(_SIZE_ARGS))} with a size in "
            "pixels"
        )
    return int(sizes[-1])


def pipeline_at_size(pipeline: Pipeline, size: int) -> List[Dict[str, Any]]:
    """Return a test pipeline that gives the network images of another size.

    Every transform that sets a size is scaled by ``size / pipeline_size(pipeline)``,
    rounded to pixels, so that the image is cropped alike: at 160, an edge of 256 and a
    crop of 224 become 183 and 160; ``Resize(scale=(1333, 800), keep_ratio=True)``
    becomes ``(267, 160)``. Relative settings (``scale_factor``, ``size_divisor``)
    stay.

    Args:
        pipeline: Configs of transforms; not changed.
        size: The shorter side that the network is to get, in pixels.

    Returns:
        The new configs.

    Raises:
        ValueError: ``size`` is no integer above 0; no transform sets a size.
    """
    if not is_integer(size) or size < 1:
        raise ValueError(
            f"size must be an integer above 0, in pixels, but got {size!r}"
        )
    factor = size / pipeline_size(pipeline)

    def scaled(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(scaled(item) for item in value)
        return max(1, round(value * factor)) if _is_side(value) else value

    changed: List[Any] = [copy.deepcopy(item) for item in pipeline]
    for transform in changed:
        if kind_of(transform).name == "EfficientNetCenterCrop":
            transform.setdefault("crop_padding", 32)  # its default, to be scaled too
        for name in _SIZE_ARGS.get(kind_of(transform).name, ()):
            if transform.get(name) is not None:
                transform[name] = scaled(transform[name])
    return changed


def describe_sizes(pipeline: Pipeline) -> str:
    """Return what sets the size, as ``'CenterCrop(crop_size=160)'``."""
    parts = []
    for transform in pipeline:
        values = ", ".join(
            f"{name}={transform[name]}"
            for name in _SIZE_ARGS.get(kind_of(transform).name, ())
            if transform.get(name) is not None
        )
        if values:
            parts.append(f"{kind_of(transform).name}({values})")
    return ", ".join(parts)


def change_pipelines(
    dataset: Mapping[str, Any], change: Callable[[Pipeline], Pipeline]
) -> Dict[str, Any]:
    """Return a dataset's config with its pipelines changed, nested ones included.

    Args:
        dataset: Config of a dataset, or of a wrapper with ``dataset`` or
            ``datasets``; not changed.
        change: From a pipeline to the new one.

    Raises:
        ValueError: There is no pipeline.
    """
    found = 0

    def walk(config: Mapping[str, Any]) -> Dict[str, Any]:
        nonlocal found
        # Not dict(): of a new-style config it would build the classes, which then
        # cannot be written down.
        result: Any = copy.copy(config)
        if result.get("pipeline"):
            result["pipeline"] = list(change(result["pipeline"]))
            found += 1
        if isinstance(result.get("dataset"), Mapping):
            result["dataset"] = walk(result["dataset"])
        if isinstance(result.get("datasets"), (list, tuple)):
            result["datasets"] = [walk(item) for item in result["datasets"]]
        return result

    result = walk(copy.deepcopy(dataset))
    if not found:
        raise ValueError(
            f"the test dataset {dataset.get('type')} has no pipeline in its config"
        )
    return result


def first_pipeline(dataset: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Return the first pipeline of a dataset's config, as :func:`change_pipelines`."""
    found: List[Any] = []

    def note(pipeline: Any) -> Any:
        found.append(pipeline)
        return pipeline

    change_pipelines(dataset, note)
    pipeline: List[Dict[str, Any]] = found[0]
    return pipeline
