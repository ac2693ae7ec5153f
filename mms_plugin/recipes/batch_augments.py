"""Convert the batch augmentations of data preprocessors that set a size."""

from __future__ import annotations

import math
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple

from ..multi_scale.sizes import Size
from ..utils.config_types import kind_of
from ..utils.validation import is_integer
from .config_edits import RecipeError, Report, assign, short

_PLACES = ("data_preprocessor", "model.data_preprocessor")


class BatchAugments:
    """Batch augmentations and data preprocessors of a config that set a size.

    mmdet's ``BatchSyncRandomResize``, which draws a size every few iterations, is
    removed: the sampler draws from its range. ``BatchFixedSizePad`` at the base size is
    removed: a batch is padded to its largest image. A preprocessor that pads or resizes
    to a fixed size (mmsegmentation's, or mmdet's with ``BatchResize``) is wrapped in
    :class:`MultiScaleDataPreprocessor` and uses the size of the batch.

    Args:
        config: The whole config.
        base_size: ``(height, width)`` of the training pipeline.

    Attributes:
        sizes: Sizes that a ``BatchSyncRandomResize`` draws from; ``None`` if there is
            none.
        pad_size_divisor: Least common multiple of the preprocessors'
            ``pad_size_divisor``.

    Raises:
        RecipeError: If an augmentation gives every batch the same size.
    """

    def __init__(self, config: Mapping, base_size: Size) -> None:
        self.base_size = base_size
        self.sizes: Optional[Tuple[Size, ...]] = None
        self.pad_size_divisor = 1
        self._left_out: List[Tuple[str, int, str]] = []
        self._sized: Dict[str, Dict[str, Any]] = {}
        for place, preprocessor in _preprocessors(config):
            name = "pad_size_divisor"
            if kind_of(preprocessor).name == "SegDataPreProcessor":
                name = "size_divisor"
                size = preprocessor.get("size")
                if size is not None:
                    self._sized[place] = _wrapping("size", size, base_size)
            divisor = preprocessor.get(name) or 1
            if not is_integer(divisor) or divisor < 1:
                raise RecipeError(
                    f"{place}.{name}",
                    f"must be a whole number of pixels, but is {divisor!r}",
                )
            self.pad_size_divisor = math.lcm(self.pad_size_divisor, divisor)
            augments = preprocessor.get("batch_augments")
            if isinstance(augments, (list, tuple)):
                for index, augment in enumerate(augments):
                    if isinstance(augment, Mapping):
                        self._read(place, index, augment)

    def leave_out(self, config: Any, report: Report) -> None:
        """Remove the augmentations that the sampler replaces from a config."""
        for place, preprocessor in _preprocessors(config):
            indices = {i: text for where, i, text in self._left_out if where == place}
            if not indices:
                continue
            kept: List[Any] = []
            for index, augment in enumerate(preprocessor["batch_augments"]):
                if index not in indices:
                    kept.append(augment)
                    continue
                report(f"{place}.batch_augments[{index}]: {indices[index]}")
                for name in ("pad_mask", "pad_seg"):
                    if augment.get(name):
                        assign(config, f"{place}.{name}", True)
            assign(config, f"{place}.batch_augments", kept or None)

    def wrap(self, config: Any, report: Report) -> None:
        """Wrap the preprocessors that pad or resize, to use the size of the batch."""
        for place, options in self._sized.items():
            own = dict(_preprocessors(config))[place]
            report(f"{place}: {kind_of(own).name} -> at the batch's size")
            wrapper = dict(
                type="MultiScaleDataPreprocessor", preprocessor=own, **options
            )
            assign(config, place, wrapper)

    def _read(self, place: str, index: int, augment: Mapping) -> None:
        where, name = f"{place}.batch_augments[{index}]", kind_of(augment).name
        if name == "BatchSyncRandomResize":
            self.sizes = self._sizes_of(augment, where)
            shown = f"{name}({short(augment['random_size_range'])})"
            self._left_out.append((place, index, f"{shown} -> the batch sampler"))
            return
        size = augment.get("size") or augment.get("scale")
        if name == "BatchResize":
            path = f"batch_augments.{index}.scale"
            bound = (min(augment["scale"]), max(augment["scale"]))
            self._sized[place] = _wrapping(path, bound, self.base_size)
        elif name == "BatchFixedSizePad" and tuple(size or ()) == self.base_size:
            text = f"{name}(size={short(size)}) -> padding to a batch's largest image"
            self._left_out.append((place, index, text))
        elif size is not None:
            raise RecipeError(
                where,
                f"{name} makes every batch {short(size)}; remove it to train at "
                "several sizes",
            )

    def _sizes_of(self, augment: Mapping, place: str) -> Tuple[Size, ...]:
        divisor = augment.get("size_divisor", 32)
        ends = augment.get("random_size_range")
        if not isinstance(ends, (list, tuple)) or len(ends) != 2:
            raise RecipeError(
                f"{place}.random_size_range",
                f"must be two sides such as (480, 800), but is {ends!r}",
            )
        low, high = (round(side / divisor) for side in ends)
        height, width = self.base_size
        # The same rounding as in BatchSyncRandomResize: the width is rounded down.
        sizes = [
            (divisor * step, divisor * int(width / height * step))
            for step in range(low, high + 1)
        ]
        if self.base_size not in sizes:
            sizes.append(self.base_size)
        return tuple(sorted(sizes))


def batch_resize_size(config: Mapping) -> Optional[Size]:
    """Return the size of mmdet's ``BatchResize``; ``None`` if there is none."""
    for _, preprocessor in _preprocessors(config):
        for augment in preprocessor.get("batch_augments") or ():
            if isinstance(augment, Mapping) and kind_of(augment).name == "BatchResize":
                return min(augment["scale"]), max(augment["scale"])
    return None


def preprocessor_size(config: Mapping) -> Optional[Size]:
    """Return the size that the data preprocessor pads or resizes to, if there is one.

    In the order of the preprocessor's own argument; mmdet's ``BatchResize`` short side
    first.
    """
    for _, preprocessor in _preprocessors(config):
        size = preprocessor.get("size")
        if kind_of(preprocessor).name == "SegDataPreProcessor" and size is not None:
            return tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    return batch_resize_size(config)


def _wrapping(path: str, size: Any, base_size: Size) -> Dict[str, Any]:
    """Return the arguments of ``MultiScaleDataPreprocessor`` without its defaults."""
    options: Dict[str, Any] = {} if path == "size" else dict(size_arg=path)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    if (height, width) != base_size:
        pair = [height / base_size[0], width / base_size[1]]
        options["size_ratio"] = pair[0] if pair[0] == pair[1] else pair
    return options


def _preprocessors(config: Mapping) -> Iterator[Tuple[str, Mapping]]:
    model = config.get("model")
    for place, owner in zip(_PLACES, (config, model)):
        found = owner.get("data_preprocessor") if isinstance(owner, Mapping) else None
        if isinstance(found, Mapping):
            yield place, found
