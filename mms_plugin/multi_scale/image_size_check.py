"""Check that the images of a batch have the size that was drawn for it."""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Optional, Sequence, Set, Tuple

import torch
from mmengine.runner import Runner
from torch.nn import ModuleList

from ..utils.unwrapped_model import unwrapped
from .multi_scale_data_preprocessor import MultiScaleDataPreprocessor
from .sizes import Size, size_text

__all__ = [
    "ImageSizeCheck",
    "is_larger",
    "oversized_image",
    "resizes_batches",
    "size_divisor",
    "sizes_in_batch",
]


class ImageSizeCheck:
    """Warn, once for each size, of images that are larger than their batch's size.

    Then the batch, which has more images at a small size, costs more than planned.
    """

    def __init__(self) -> None:
        self._checked: Set[Size] = set()

    def __call__(self, runner: Runner, size: Size, data_batch: Any) -> None:
        """Check a batch before its iteration.

        Args:
            runner: Runner of the training.
            size: ``(height, width)`` in pixels that was drawn for the batch.
            data_batch: The batch as the data loader gives it.
        """
        if size in self._checked:
            return
        self._checked.add(size)
        image = oversized_image(runner, size, data_batch)
        if image is not None:
            runner.logger.warning(
                f"A batch of {size_text(size)} has an image of {size_text(image)}: "
                "no transform of the pipeline follows the size of the batch, or "
                "one sets another size. Put the transform that sets the size into "
                "a MultiScaleTransform."
            )
            return
        for argument, padded in _own_sizes(_preprocessor(runner.model)):
            if is_larger(padded, size):
                runner.logger.warning(
                    f"A batch of {size_text(size)} is padded or resized to "
                    f"{size_text(padded)} by the data preprocessor. Let it take the "
                    "size of the batch: "
                    "model.data_preprocessor=dict(type='MultiScaleDataPreprocessor', "
                    f"preprocessor=dict(...), size_arg={argument!r})"
                )


def oversized_image(runner: Runner, size: Size, data_batch: Any) -> Optional[Size]:
    """Return the size of the first image that is larger than its batch's size.

    None if there is none, or if the data preprocessor resizes the batches.

    Args:
        runner: Runner of the training.
        size: ``(height, width)`` in pixels that was drawn for the batch.
        data_batch: The batch as the data loader gives it.
    """
    if resizes_batches(runner.model):
        return None
    divisor = divisor_of(runner.cfg.get("train_dataloader"))
    images = sizes_in_batch(data_batch)
    return next((image for image in images if is_larger(image, size, divisor)), None)


def resizes_batches(model: Any) -> bool:
    """Return whether the data preprocessor resizes batches to their size.

    Then the images of the data loader have other ones.
    """
    preprocessor = _preprocessor(model)
    return isinstance(preprocessor, MultiScaleDataPreprocessor) and preprocessor.resizes


def _preprocessor(model: Any) -> Any:
    return getattr(unwrapped(model), "data_preprocessor", None)


def sizes_in_batch(batch: Any) -> Iterator[Size]:
    """Yield ``(height, width)`` of the images in a batch, of several views too."""
    images = batch.get("inputs") if isinstance(batch, Mapping) else None
    if isinstance(images, torch.Tensor) and images.dim() >= 3:
        yield int(images.shape[-2]), int(images.shape[-1])
    elif isinstance(images, (list, tuple)):
        for each in images:
            yield from sizes_in_batch(dict(inputs=each))


def is_larger(image: Size, size: Size, divisor: int = 1) -> bool:
    """Return whether an image is larger than a size, by more than padding explains.

    Compares the shorter sides: a resize to the short edge leaves the long one free.

    Args:
        image: ``(height, width)`` in pixels.
        size: Likewise.
        divisor: A ``Pad`` with ``size_divisor`` makes both sides of images multiples
            of it. Defaults to 1.
    """
    excess = min(image) - min(size)
    padded = not any(side % divisor for side in image)
    return excess > 1 and not (padded and excess < divisor)


def size_divisor(config: Any) -> int:
    """Return the largest ``size_divisor`` in a config; 1 without one."""
    if isinstance(config, Mapping):
        own = config.get("size_divisor")
        inner = [size_divisor(value) for value in config.values()]
        return max([own if isinstance(own, int) else 1, *inner])
    if isinstance(config, (list, tuple)):
        return max(map(size_divisor, config), default=1)
    return 1


def divisor_of(loader: Any) -> int:
    """Return the ``size_divisor`` of a loader's pipeline; 32 if it is not known."""
    dataset = loader.get("dataset") if isinstance(loader, Mapping) else None
    return size_divisor(loader) if isinstance(dataset, Mapping) else 32


def _own_sizes(preprocessor: Any) -> Iterator[Tuple[str, Size]]:
    """Yield arguments of a data preprocessor that set one size, and these sizes.

    mmseg's pads to ``size``, mmdet's ``BatchFixedSizePad`` too; ``BatchResize`` resizes
    to ``min_size`` and ``max_size``.
    """
    if isinstance(preprocessor, MultiScaleDataPreprocessor):
        return
    size = _two_sides(getattr(preprocessor, "size", None))
    if size is not None:
        yield "size", size
    augments = getattr(preprocessor, "batch_augments", None)
    for index, augment in enumerate(_items(augments)):
        size = _two_sides(getattr(augment, "size", None))
        if size is not None:
            yield f"batch_augments.{index}.size", size
        sides = (getattr(augment, "min_size", None), getattr(augment, "max_size", None))
        size = _two_sides(sides)
        if size is not None:
            yield f"batch_augments.{index}.scale", size


def _items(augments: Any) -> Sequence[Any]:
    return list(augments) if isinstance(augments, (list, tuple, ModuleList)) else []


def _two_sides(value: Any) -> Optional[Size]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        return None
    return (value[0], value[1]) if all(isinstance(s, int) for s in value) else None
