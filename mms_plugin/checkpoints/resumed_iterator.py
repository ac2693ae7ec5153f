"""Where a loop that counts iterations goes on after a resume."""

from __future__ import annotations

from typing import Any, Callable, Iterator

from torch.utils.data import DataLoader


class ResumedIterator:
    """Takes the place of ``IterBasedTrainLoop.dataloader_iterator``.

    The loop leaves out what it has trained on: MMEngine's asks for each of those
    batches, onedl-mmengine's calls :meth:`skip_iter`. It gets nothing for these, at
    once, and afterwards the batches of a data loader whose sampler is at the right
    place already.

    Args:
        dataloader: Of the loop.
        endless_iterator: MMEngine's iterator over a data loader, again and again.
        skip: Batches that the loop is going to ask for in vain.
        epoch: Epoch that the data loader is in.
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
        return self

    def skip_iter(self, num_iters: int) -> None:
        """Leave out batches at once, as the loop of onedl-mmengine asks for it.

        Args:
            num_iters: Number of batches to leave out.
        """
        self._skip = max(0, self._skip - num_iters)

    def __next__(self) -> Any:
        if self._skip:
            self._skip -= 1
            return None
        if self._batches is None:
            # Not before: MMEngine says epoch 0 to the sampler when the loop begins.
            sampler: Any = self._dataloader.batch_sampler
            sampler.set_epoch(self._epoch)
            self._batches = self._endless_iterator(self._dataloader)
            self._batches._epoch = self._epoch
        return next(self._batches)
