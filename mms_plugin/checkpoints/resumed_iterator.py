"""An iterator that skips the batches that a resumed loop has trained on."""

from __future__ import annotations

from typing import Any, Callable, Iterator

from torch.utils.data import DataLoader


class ResumedIterator:
    """Replace ``IterBasedTrainLoop.dataloader_iterator`` in a resumed training.

    A resumed loop skips the batches that it has trained on: MMEngine's loop asks for
    each of them and throws it away, onedl-mmengine's calls :meth:`skip_iter`. This
    iterator returns ``None`` for them and loads nothing. Then it returns the batches of
    the data loader, whose sampler already stands at the first batch that is left.

    Args:
        dataloader: Of the loop.
        endless_iterator: MMEngine's iterator, which starts the data loader again at
            the end of each pass.
        skip: Number of batches that the loop skips.
        epoch: Epoch of the data loader.
    """

    def __init__(
        self,
        dataloader: DataLoader,
        endless_iterator: Callable[[DataLoader], Any],
        skip: int,
        epoch: int,
    ) -> None:
        self._dataloader = dataloader
        self._endless_iterator = endless_iterator
        self._skip = skip
        self._epoch = epoch
        self._batches: Any = None

    def __iter__(self) -> Iterator[Any]:
        """Return the iterator itself."""
        return self

    def skip_iter(self, num_iters: int) -> None:
        """Skip batches at once, as the loop of onedl-mmengine does.

        Args:
            num_iters: Number of batches to skip.
        """
        self._skip = max(0, self._skip - num_iters)

    def __next__(self) -> Any:
        """Return the next batch; ``None`` for each one that is skipped."""
        if self._skip:
            self._skip -= 1
            return None
        if self._batches is None:
            # Not before: when the loop begins, MMEngine sets the sampler to epoch 0.
            sampler: Any = self._dataloader.batch_sampler
            sampler.set_epoch(self._epoch)
            self._batches = self._endless_iterator(self._dataloader)
            self._batches._epoch = self._epoch
        return next(self._batches)
