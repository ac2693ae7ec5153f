"""Batches as the network sees them, to be looked at."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.runner import Runner

from ..multi_scale.size_losses import SizeLosses, losses_of, losses_since
from ..multi_scale.sized_index import sized_batch
from ..multi_scale.sizes import Size
from ..utils.first_iteration import first_iteration
from ..utils.in_process import in_process

__all__ = ["BatchView", "DrawnObject", "ImageView", "batch_view", "first_batches"]

# Batches to look through for every size; a small dataset has few an epoch.
_MOST_BATCHES = 20_000
_MOST_EPOCHS = 30
# Scores of a mixed label below it are not worth a word.
_LEAST_SCORE = 0.005


class DrawnObject(NamedTuple):
    """An object of an image.

    Attributes:
        box: ``(x1, y1, x2, y2)`` in pixels of the batch; ``None`` without boxes.
        label: Name of its class.
        mask: ``(height, width)`` bool; ``None`` without masks.
    """

    box: Optional[Tuple[float, float, float, float]]
    label: str
    mask: Optional[np.ndarray]


@dataclass
class ImageView:
    """An image of a batch.

    Attributes:
        pixels: ``(height, width, 3)`` uint8 RGB, padding included.
        caption: Label of the image; empty for a detector.
        objects: Ground-truth objects of a detector.
    """

    pixels: np.ndarray
    caption: str = ""
    objects: List[DrawnObject] = field(default_factory=list)


@dataclass
class BatchView:
    """A batch.

    Attributes:
        size: ``(height, width)`` that was drawn; ``None`` without the sampler.
        shape: ``(height, width)`` of the tensor that the network gets.
        padding: Share of the tensor's pixels that are padding.
        pixels: ``(batch_size, height, width, 3)`` uint8 RGB.
        images: The first images of the batch.
        shown: How ``pixels`` differ from the images' own values: views or bands left
            out, values scaled; empty for 8-bit color images.
        lost: What this size took from the images that were loaded for the batch;
            ``None`` where nothing counts it.
    """

    size: Optional[Size]
    shape: Size
    padding: float
    pixels: np.ndarray
    images: List[ImageView]
    shown: str = ""
    lost: Optional[SizeLosses] = None

    @property
    def batch_size(self) -> int:
        """Images of the batch."""
        return len(self.pixels)


def first_batches(
    train_dataloader: Dict[str, Any], seed: int = 0
) -> Tuple[Any, Dict[Optional[Size], List[int]]]:
    """Return the first full batch of each size that a training's sampler deals.

    Args:
        train_dataloader: The config's. It loads in this process.
        seed: Of the sampler. Defaults to 0.

    Returns:
        The data loader; and the indices of the batches by ``(height, width)``, from
        small to large. The largest batch of a size counts as full where the dataset
        is small. For a size that no batch has, in either orientation, images of the
        largest batch are used. Without the multi-scale sampler: one batch, its size
        ``None``.

    Raises:
        ValueError: The sampler gives no batch.
    """
    config = in_process(train_dataloader)
    config.pop("num_batch_per_epoch", None)
    loader = Runner.build_dataloader(config, seed=seed)
    sampler: Any = loader.batch_sampler
    growing = getattr(sampler, "growing_sizes", None)
    full: Dict[Size, int] = {}
    if growing is not None:
        drawn = growing.distribution(1.0)
        full = dict(zip(drawn.sizes, drawn.batch_sizes))
    chosen: Dict[Optional[Size], List[int]] = {}
    for batch in _dealt(sampler):
        size = getattr(batch[0], "size", None)
        if len(batch) > len(chosen.get(size, [])):
            chosen[size] = batch
        if not full or all(len(chosen.get(s, [])) >= full[s] for s in full):
            break
    if not chosen:
        raise ValueError("train_dataloader's sampler gives no batch")
    # An epoch of few batches may not have all sizes.
    largest = max(chosen.values(), key=len)
    for size in full:
        if size not in chosen and size[::-1] not in chosen:
            chosen[size] = [*sized_batch(largest[: full[size]], size, seed)]
    ordered = sorted(chosen, key=lambda s: s[0] * s[1] if s else 0)
    return loader, {size: chosen[size] for size in ordered}


def _dealt(sampler: Any) -> Iterator[List[int]]:
    def epochs() -> Iterator[List[int]]:
        for epoch in range(_MOST_EPOCHS):
            part: Any
            for part in (sampler, getattr(sampler, "sampler", None)):
                if hasattr(part, "set_epoch"):
                    part.set_epoch(epoch)
            yield from sampler

    return itertools.islice(epochs(), _MOST_BATCHES)


def batch_view(
    loader: Any,
    indices: Sequence[int],
    preprocessor: Any,
    size: Optional[Size] = None,
    most_images: int = 12,
) -> BatchView:
    """Load a batch and pass it through a model's data preprocessor, as in training.

    So padding and the augmentations of whole batches (mixup, CutMix) are in it. Of
    several views of each image (self-supervised models) it is the first.

    Args:
        loader: Of the training.
        indices: Of the batch, as its sampler deals them.
        preprocessor: The model's ``data_preprocessor``.
        size: That was drawn for it. Defaults to none.
        most_images: Maximum number of images kept. Defaults to 12.

    Raises:
        ValueError: The preprocessor gives something else than ``(N, C, H, W)`` images.
    """
    before = losses_of(loader.dataset)
    samples = [loader.dataset[index] for index in indices]
    gone = losses_since(losses_of(loader.dataset), before)
    if not hasattr(samples[0], "keys"):
        raise ValueError(
            f"the dataset must give dicts with 'inputs', but gives "
            f"{type(samples[0]).__name__}"
        )
    with first_iteration():
        data = preprocessor(loader.collate_fn(samples), training=True)
    inputs, note = data.get("inputs") if isinstance(data, dict) else None, ""
    if isinstance(inputs, (list, tuple)) and inputs:
        inputs, note = inputs[0], f"view 1 of {len(inputs)}"
    if not isinstance(inputs, torch.Tensor) or inputs.dim() != 4:
        found = getattr(inputs, "shape", type(inputs).__name__)
        raise ValueError(
            f"{type(preprocessor).__name__} must give images of shape (N, 3, height, "
            f"width), or of another number of channels, but gives {found}"
        )
    height, width = (int(side) for side in inputs.shape[-2:])
    data_samples = data.get("data_samples") or [None] * len(inputs)
    names = tuple((getattr(loader.dataset, "metainfo", None) or {}).get("classes", ()))
    pixels, shown = _pixels(inputs, preprocessor)
    shown = ", ".join(filter(None, [note, shown]))
    images = [
        ImageView(image, _caption(sample, names), _objects(sample, names))
        for image, sample in zip(pixels[:most_images], data_samples)
    ]
    shapes = [_image_shape(sample, samples[i]) for i, sample in enumerate(data_samples)]
    filled = sum(min(h, height) * min(w, width) for h, w in shapes)
    return BatchView(
        size,
        (height, width),
        1 - filled / (len(inputs) * height * width),
        pixels,
        images,
        shown,
        None if size is None else gone.get(size),
    )


def _image_shape(sample: Any, loaded: Any) -> Size:
    inputs = loaded["inputs"]
    if isinstance(inputs, (list, tuple)):  # of views, whose shape the sample lacks
        shape = tuple(inputs[0].shape[-2:])
    else:
        meta = getattr(sample, "metainfo", None) or {}
        # What the preprocessor's own resizing made of it, else as it was loaded.
        shape = meta.get("img_shape") or tuple(inputs.shape[-2:])
    return int(shape[0]), int(shape[1])


def _pixels(inputs: torch.Tensor, preprocessor: Any) -> Tuple[np.ndarray, str]:
    """Return images of the network's tensor, and how they differ from its values.

    Returns:
        ``(N, height, width, 3)`` uint8 RGB: the first three bands, or the first one in
        gray where there are fewer than three; and a note, empty for 8-bit color.
    """
    values = inputs.detach().float().cpu()
    # That of MultiScaleDataPreprocessor.
    preprocessor = getattr(preprocessor, "preprocessor", preprocessor)
    if getattr(preprocessor, "_enable_normalize", False):
        values = values * preprocessor.std.cpu() + preprocessor.mean.cpu()
    # MMEngine's name, mmsegmentation's and mmpretrain's.
    names = ("_channel_conversion", "channel_conversion", "to_rgb")
    converted = any(getattr(preprocessor, name, False) for name in names)
    bands, notes = values.shape[1], []
    if bands == 3:
        if not converted:  # as mmcv loads them
            values = values.flip(1)
    elif bands < 3:
        values = values[:, :1].expand(-1, 3, -1, -1)
        notes.append("in gray" if bands == 1 else f"band 1 of {bands}, in gray")
    else:
        values = values[:, :3]
        notes.append(f"bands 1 to 3 of {bands}")
    low, high = float(values.min()), float(values.max())
    if _is_other_range(values, low, high):
        values = (values - low) * (255 / (high - low))
        notes.append(f"values {low:.4g} to {high:.4g} scaled to 8 bits")
    rounded = values.round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(0, 2, 3, 1).numpy()), ", ".join(notes)


def _is_other_range(values: torch.Tensor, low: float, high: float) -> bool:
    """Return whether values are not of 8 bits: of 16, or fractions of 1."""
    if high <= low:
        return False
    fractions = high <= 1 and bool(((values - values.round()).abs() > 0.01).any())
    # Augmentations of whole batches may leave the range by a little.
    return fractions or high > 512


def _name(label: int, names: Sequence[str]) -> str:
    return str(names[label]) if 0 <= label < len(names) else f"class {label}"


def _caption(sample: Any, names: Sequence[str]) -> str:
    """Return a classifier's label, or the parts of a mixed one."""
    score = getattr(sample, "gt_score", None)
    if isinstance(score, torch.Tensor) and score.dim() == 1:
        parts = sorted(enumerate(score.tolist()), key=lambda part: -part[1])
        mixed = [(i, s) for i, s in parts if s > _LEAST_SCORE]
        if len(mixed) > 1:
            return " + ".join(f"{s:.2f} {_name(i, names)}" for i, s in mixed[:3])
        return ", ".join(_name(i, names) for i, _ in mixed)
    label = getattr(sample, "gt_label", None)
    if isinstance(label, torch.Tensor):
        return ", ".join(_name(int(i), names) for i in label.reshape(-1)[:3])
    return ""


def _objects(sample: Any, names: Sequence[str]) -> List[DrawnObject]:
    """Return a detector's boxes and masks."""
    truth = getattr(sample, "gt_instances", None)
    if truth is None:
        return []
    labels = truth.get("labels")
    boxes = truth.get("bboxes")
    if boxes is not None:
        boxes = getattr(boxes, "tensor", boxes)
        # Rotated boxes and others have no corners.
        boxes = boxes.detach().cpu().tolist() if boxes.shape[-1] == 4 else None
    masks = truth.get("masks")
    if masks is not None:
        if hasattr(masks, "to_bitmap"):
            masks = masks.to_bitmap()
        masks = np.asarray(getattr(masks, "masks", masks)).astype(bool)
    return [
        DrawnObject(
            None if boxes is None else (*(float(v) for v in boxes[i]),),  # type: ignore[arg-type]
            "" if labels is None else _name(int(labels[i]), names),
            None if masks is None else masks[i],
        )
        for i in range(len(truth))
    ]
