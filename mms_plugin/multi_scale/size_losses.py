"""Count the objects and images of a dataset that are lost at each input size.

At a small size objects fall below ``min_box_side``. An image that loses all of its
objects is replaced by another one (``filter_empty_gt=True``) or stays as an image
without objects.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import (
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    NoReturn,
    Optional,
    Tuple,
)

import torch
from torch.utils.data import get_worker_info

from .path_in_errors import raise_with_path
from .sizes import Size, ordered_sizes

__all__ = [
    "LoadingSample",
    "LossTally",
    "SizeLosses",
    "describe_losses",
    "loading",
    "loading_sample",
    "losses_of",
    "losses_since",
]

# One slot for the main process and one per worker, so that no two processes write to
# the same one. If there are more sizes than rows, the others are not counted.
_SLOTS, _ROWS = 129, 64


class SizeLosses(NamedTuple):
    """Number of objects and images that were lost at one size.

    Attributes:
        images: Images that were loaded at this size.
        replaced: Images that the pipeline dropped, for which MMEngine loaded others.
        emptied: Images that lost all of their objects and stayed.
        boxes: Objects of the images before the first :class:`MultiScaleTransform`.
        boxes_lost: Objects that were dropped since they are smaller than
            ``min_box_side``, or since their mask has no pixel.
    """

    images: int = 0
    replaced: int = 0
    emptied: int = 0
    boxes: int = 0
    boxes_lost: int = 0

    @property
    def any(self) -> bool:
        """Whether an object or an image was lost."""
        return bool(self.replaced or self.emptied or self.boxes_lost)


class LossTally:
    """Sum the losses at each size over all processes that load samples of a dataset.

    The counts are in memory that the main process shares with its workers, whether
    these are forked or spawned. Up to 64 sizes are counted.
    """

    def __init__(self) -> None:
        self._table = torch.zeros(
            _SLOTS, _ROWS, 2 + len(SizeLosses._fields), dtype=torch.int64
        )
        # If /dev/shm is full, the counts of workers are not seen in the main process.
        with suppress(OSError, RuntimeError):
            self._table.share_memory_()

    def add(self, size: Size, losses: SizeLosses) -> None:
        """Add losses at ``(height, width)``."""
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
        """Return all losses so far by ``(height, width)``, from small to large."""
        sums: Dict[Size, List[int]] = {}
        rows = self._table.reshape(-1, self._table.shape[-1])
        for height, width, *counts in rows[rows[:, 0] > 0].tolist():
            before = sums.get((height, width), [0] * len(counts))
            sums[height, width] = [a + b for a, b in zip(before, counts)]
        return {size: SizeLosses(*sums[size]) for size in ordered_sizes(sums)}


class LoadingSample:
    """The sample that a dataset is loading, with all images that are tried for it.

    Attributes:
        size: ``(height, width)`` of its batch; ``None`` with a plain index.
        drops_empty: Whether MMEngine loads another image in place of one that has lost
            all its objects. Only inside the pipeline of a training dataset whose
            ``filter_cfg`` has ``filter_empty_gt=True``, not in that of
            ``MultiImageMixDataset``, which would repeat the same transform.
        tried: Images that were loaded for the sample.
        replaced: Images that the pipeline dropped.
        drop: Set by a transform that must not return ``None`` itself: the pipeline
            drops the image at its end.
        failure: Error of a pipeline, and its sample; ``None`` if none has failed.
        min_box_side: ``min_box_side`` of the transform that dropped objects, in
            pixels; ``None`` if none did.
    """

    def __init__(
        self, size: Optional[Size] = None, tally: Optional[LossTally] = None
    ) -> None:
        self.size, self._tally = size, tally
        self.drops_empty = self.drop = False
        self.failure: Optional[Tuple[Exception, Any]] = None
        self.tried = self.replaced = 0
        self.min_box_side: Optional[float] = None
        self._boxes: Optional[int] = None
        self._lost = 0
        self._emptied = False

    def raise_failure(self, error: Exception) -> NoReturn:
        """Raise an error; if a pipeline has raised it, with its image and size."""
        if self.failure is not None and self.failure[0] is error:
            raise_with_path(*self.failure)
        raise error

    def note_boxes(self, before: int, after: int, min_box_side: float) -> None:
        """Note the objects of the current image before and after a transform."""
        if self._boxes is None:
            self._boxes = before
        self._lost += before - after
        self._emptied |= before > 0 and after == 0
        if after < before:
            self.min_box_side = min_box_side

    def count(self, images: int, replaced: bool = False) -> None:
        """Add what was noted to the losses of the size.

        Args:
            images: 1 at the end of an image's pipeline, 0 for images that were mixed.
            replaced: Whether the image was dropped. Defaults to ``False``.
        """
        losses = SizeLosses(
            images=images,
            replaced=int(replaced),
            emptied=int(self._emptied and not replaced),
            boxes=self._boxes or 0,
            boxes_lost=self._lost,
        )
        self._boxes, self._lost, self._emptied = None, 0, False
        self.tried += images
        self.replaced += int(replaced)
        if self.size is not None and self._tally is not None and any(losses):
            self._tally.add(self.size, losses)


# Each thread and each process has its own.
_loading: ContextVar[Optional[LoadingSample]] = ContextVar("_loading", default=None)


def loading_sample() -> Optional[LoadingSample]:
    """Return the sample that is being loaded, or ``None``."""
    return _loading.get()


@contextmanager
def loading(
    size: Optional[Size] = None, tally: Optional[LossTally] = None
) -> Iterator[LoadingSample]:
    """Let pipelines and transforms know the sample that is being loaded.

    Args:
        size: ``(height, width)`` of its batch. Defaults to none.
        tally: Counts the losses. Defaults to none.
    """
    sample = LoadingSample(size, tally)
    token = _loading.set(sample)
    try:
        yield sample
    finally:
        _loading.reset(token)
        # Mixed images (MultiImageMixDataset) pass transforms after their pipelines.
        sample.count(images=0)


def losses_of(dataset: Any) -> Dict[Size, SizeLosses]:
    """Return the losses of a dataset so far; empty for those that count none."""
    losses = getattr(dataset, "size_losses", None)
    return losses() if callable(losses) else {}


def losses_since(
    now: Mapping[Size, SizeLosses], before: Mapping[Size, SizeLosses]
) -> Dict[Size, SizeLosses]:
    """Return the difference of two totals, of the sizes that were loaded in between."""
    none = SizeLosses()
    new = {
        size: SizeLosses(*(a - b for a, b in zip(losses, before.get(size, none))))
        for size, losses in now.items()
    }
    return {size: losses for size, losses in new.items() if any(losses)}


def describe_losses(losses: SizeLosses) -> str:
    """Describe the losses at a size, such as ``'3 of 40 images (7.5%) were ...'``."""
    parts = []
    if losses.replaced:
        share = losses.replaced / losses.images
        parts.append(
            f"{losses.replaced} of {losses.images} images ({share:.1%}) were replaced "
            "by others because no object was left"
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
