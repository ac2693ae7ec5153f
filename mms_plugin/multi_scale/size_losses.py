"""Counts of what each input size takes from a dataset: objects, and whole images.

At a small size objects fall below ``min_box_side``. An image that loses all of its
objects is then replaced by another one (``filter_empty_gt=True``) or stays as an image
without objects.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional

import torch
from torch.utils.data import get_worker_info

from .sizes import Size

__all__ = [
    "ItemLosses",
    "LossTally",
    "SizeLosses",
    "describe_losses",
    "item_losses",
    "losses_since",
    "watching",
]

# One slot a worker and one for the main process, so that no two processes write to the
# same place. Sizes beyond the rows are not counted.
_SLOTS, _ROWS = 129, 64


class SizeLosses(NamedTuple):
    """What the images of one size have lost.

    Attributes:
        images: Images that were loaded at this size.
        replaced: Those that the pipeline gave up, for which MMEngine fetched others.
        emptied: Those that lost all of their objects and stayed.
        boxes: Objects of the images, as they came to the first
            :class:`MultiScaleTransform`.
        boxes_lost: Those that were dropped as smaller than ``min_box_side``, or
            without a pixel of their mask.
    """

    images: int = 0
    replaced: int = 0
    emptied: int = 0
    boxes: int = 0
    boxes_lost: int = 0

    @property
    def any(self) -> bool:
        """Whether the size has taken anything."""
        return bool(self.replaced or self.emptied or self.boxes_lost)


class LossTally:
    """Losses by size, counted in all processes that load samples of a dataset.

    The counts lie in memory that worker processes share with the main process,
    whether they are forked or spawned. Up to 64 sizes are counted.
    """

    def __init__(self) -> None:
        self._table = torch.zeros(
            _SLOTS, _ROWS, 2 + len(SizeLosses._fields), dtype=torch.int64
        )
        # Where /dev/shm is full, what workers count stays with them.
        with suppress(OSError, RuntimeError):
            self._table.share_memory_()

    def add(self, size: Size, losses: SizeLosses) -> None:
        """Add what one image or more have lost at ``(height, width)``."""
        worker = get_worker_info()
        slot = 0 if worker is None else 1 + worker.id % (_SLOTS - 1)
        rows = self._table[slot].numpy()
        for row in rows:
            if row[0] == 0:
                row[:2] = size
            if row[0] == size[0] and row[1] == size[1]:
                row[2:] += losses
                return

    def totals(self) -> Dict[Size, SizeLosses]:
        """Everything counted so far, by ``(height, width)``, from small to large."""
        sums: Dict[Size, List[int]] = {}
        rows = self._table.reshape(-1, self._table.shape[-1])
        for height, width, *counts in rows[rows[:, 0] > 0].tolist():
            before = sums.get((height, width), [0] * len(counts))
            sums[height, width] = [a + b for a, b in zip(before, counts)]
        ordered = sorted(sums, key=lambda size: (size[0] * size[1], size))
        return {size: SizeLosses(*sums[size]) for size in ordered}


class ItemLosses:
    """What happens while one sample of a dataset is loaded, refetches included.

    Attributes:
        tried: Images that were loaded for it.
        replaced: Those that lost all of their objects.
        min_box_side: Of the transform that dropped objects, in pixels; ``None`` if
            none did.
    """

    def __init__(self) -> None:
        self.tried = self.replaced = 0
        self.min_box_side: Optional[float] = None
        self._boxes: Optional[int] = None
        self._lost = 0
        self._emptied = False

    def note_boxes(self, before: int, after: int, min_box_side: float) -> None:
        """Note the objects of the current image before and after a transform."""
        if self._boxes is None:
            self._boxes = before
        self._lost += before - after
        self._emptied |= before > 0 and after == 0
        if after < before:
            self.min_box_side = min_box_side

    def take_image(self, replaced: bool) -> SizeLosses:
        """Close the current image and return what it lost."""
        losses = self._take()._replace(images=1, replaced=int(replaced))
        self.tried += 1
        self.replaced += int(replaced)
        return losses._replace(emptied=0) if replaced else losses

    def take_rest(self) -> SizeLosses:
        """Return what was lost outside the pipelines of single images.

        Mixed images (``MultiImageMixDataset``) pass transforms after these.
        """
        return self._take()

    def _take(self) -> SizeLosses:
        losses = SizeLosses(
            emptied=int(self._emptied), boxes=self._boxes or 0, boxes_lost=self._lost
        )
        self._boxes, self._lost, self._emptied = None, 0, False
        return losses


_item: ContextVar[Optional[ItemLosses]] = ContextVar("_item", default=None)


def item_losses() -> Optional[ItemLosses]:
    """Return the notes on the sample being loaded; ``None`` where none are kept."""
    return _item.get()


@contextmanager
def watching(tally: LossTally, size: Size) -> Iterator[ItemLosses]:
    """Keep notes on the sample that is loaded meanwhile.

    Args:
        tally: Takes what is lost outside the pipelines of single images.
        size: ``(height, width)`` of the batch.
    """
    item = ItemLosses()
    token = _item.set(item)
    try:
        yield item
    finally:
        _item.reset(token)
        rest = item.take_rest()
        if rest.boxes or rest.any:
            tally.add(size, rest)


def losses_since(
    now: Mapping[Size, SizeLosses], before: Mapping[Size, SizeLosses]
) -> Dict[Size, SizeLosses]:
    """Return the difference of two totals, of the sizes that were loaded in between."""
    gone = {
        size: SizeLosses(*(a - b for a, b in zip(now[size], before.get(size, ()))))
        if size in before
        else now[size]
        for size in now
    }
    return {size: losses for size, losses in gone.items() if any(losses)}


def describe_losses(losses: SizeLosses) -> str:
    """Return what a size has lost, such as ``'3 of 40 images (7.5 %) ...'``."""
    parts = []
    if losses.replaced:
        share = losses.replaced / losses.images
        parts.append(
            f"{losses.replaced} of {losses.images} images ({share:.1%}) were replaced "
            "by others, no object being left"
        )
    if losses.emptied:
        of = f" of {losses.images} images" if losses.images else " mixed images"
        parts.append(f"{losses.emptied}{of} lost all objects and stayed")
    if losses.boxes_lost:
        share = losses.boxes_lost / max(losses.boxes, 1)
        parts.append(
            f"{losses.boxes_lost} of {losses.boxes} boxes ({share:.1%}) were too small"
        )
    return ", ".join(parts) or "nothing lost"
