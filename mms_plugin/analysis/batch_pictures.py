"""Sheets of a batch's images, with what the network is to find in them."""

from __future__ import annotations

import math
from typing import Any, List

import numpy as np

from ..multi_scale.size_losses import describe_losses
from .batch_views import BatchView, DrawnObject, ImageView
from .pictures import COLORS, PathLike, new_figure, save_figure

__all__ = ["describe_batch", "draw_batch"]

# Seen on light and dark images alike; neighbors of one class differ.
_OBJECT_COLORS = (*COLORS[1:], "#56B4E9", "#F0E442")
# More names than these would cover an image: the largest objects have theirs.
_MOST_NAMES = 6
_WIDTH = 12.0


def describe_batch(view: BatchView) -> str:
    """Describe size, number of images and padding of a batch in a line."""
    height, width = view.shape
    text = f"{height} × {width} px"
    if height != width:
        text += " (height × width)"
    if view.size is not None and view.size != view.shape:
        drawn = "{} × {}".format(*view.size)
        text = f"drawn: {drawn} px, given to the network: {height} × {width} px"
    text += f", {view.batch_size} images"
    if len(view.images) < view.batch_size:
        text += f" (first {len(view.images)})"
    text = f"{text}, {view.padding:.1%} of the pixels are padding"
    if view.shown:
        text += f"; shown: {view.shown}"
    if view.lost is not None and view.lost.any:
        text += f"; at this size {describe_losses(view.lost)}"
    return text


def draw_batch(view: BatchView, path: PathLike) -> None:
    """Draw a sheet of a batch's images, each with its label or its objects.

    Args:
        view: The batch; all its ``images`` are drawn.
        path: The PNG to write.

    Raises:
        ValueError: A batch without images.
    """
    if not view.images:
        raise ValueError("view.images=[] must hold at least one image")
    height, width = view.shape
    count = len(view.images)
    columns = min(count, max(2, round(math.sqrt(count * 1.6 * height / width))))
    rows = -(-count // columns)
    tile = min(_WIDTH / columns, 4.5)
    captions = any(image.caption for image in view.images)
    figure = new_figure(
        max(tile * columns, 7.5),
        (tile * height / width + (0.3 if captions else 0.05)) * rows + 0.5,
    )
    figure.suptitle(describe_batch(view), fontsize=11)
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0, hspace=0)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, image in zip(axes, view.images):
        _draw_image(axis, image, names_at_most=int(26 * tile))
    for axis in axes:
        axis.axis("off")
    save_figure(figure, path)


def _draw_image(axis: Any, image: ImageView, names_at_most: int) -> None:
    axis.imshow(image.pixels, interpolation="nearest")
    height, width = image.pixels.shape[:2]
    if image.caption:
        text = image.caption
        if len(text) > names_at_most / 2:
            text = f"{text[: names_at_most // 2 - 1]}…"
        axis.set_title(text, fontsize=9, pad=2)
    by_area = sorted(range(len(image.objects)), key=lambda i: -_area(image.objects[i]))
    named = set(by_area[:_MOST_NAMES])
    for number in by_area:  # the small ones on top
        drawn = image.objects[number]
        color = _OBJECT_COLORS[number % len(_OBJECT_COLORS)]
        _draw_mask(axis, drawn, color)
        if drawn.box is None:
            continue
        x1, y1, x2, y2 = drawn.box
        # Pixel centers lie at whole numbers, borders of boxes between them.
        axis.plot(
            np.array([x1, x2, x2, x1, x1]) - 0.5,
            np.array([y1, y1, y2, y2, y1]) - 0.5,
            color=color,
            linewidth=1.3,
        )
        if number in named and drawn.label:
            axis.text(
                min(max(x1, 0), 0.8 * width),
                max(y1, 0.06 * height),
                drawn.label,
                fontsize=7,
                color="white",
                verticalalignment="bottom",
                bbox=dict(facecolor="black", alpha=0.6, pad=0.8, linewidth=0),
                clip_on=True,
            )
    axis.set_xlim(-0.5, width - 0.5)
    axis.set_ylim(height - 0.5, -0.5)


def _area(drawn: DrawnObject) -> float:
    if drawn.box is None:
        return 0.0
    x1, y1, x2, y2 = drawn.box
    return (x2 - x1) * (y2 - y1)


def _draw_mask(axis: Any, drawn: DrawnObject, color: str) -> None:
    if drawn.mask is None or not drawn.mask.any():
        return
    from matplotlib.colors import to_rgb

    rows, columns = np.where(drawn.mask)
    top, bottom = rows.min(), rows.max() + 1
    left, right = columns.min(), columns.max() + 1
    part = drawn.mask[top:bottom, left:right]
    overlay = np.zeros((*part.shape, 4))
    overlay[..., :3] = to_rgb(color)
    overlay[..., 3] = 0.4 * part
    extent: List[float] = [left - 0.5, right - 0.5, bottom - 0.5, top - 0.5]
    axis.imshow(overlay, extent=extent, interpolation="nearest")
