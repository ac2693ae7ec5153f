"""Both ways in which a loop leaves out batches lead to the same next batch."""

import pytest
from torch.utils.data import DataLoader

from mms_plugin.checkpoints.resumed_iterator import ResumedIterator


class Batches:
    """A batch sampler that an epoch can be set for."""

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return 2

    def __iter__(self):
        return iter([[self.epoch], [self.epoch + 1]])


class Endless:
    def __init__(self, loader):
        self._batches = iter(loader)

    def __next__(self):
        return int(next(self._batches))


@pytest.fixture
def iterator():
    loader = DataLoader(range(10), batch_sampler=Batches())
    return ResumedIterator(loader, Endless, skip=3, epoch=5)


def test_a_loop_that_asks_for_each(iterator):
    assert [next(iterator) for _ in range(5)] == [None, None, None, 5, 6]


def test_a_loop_that_skips(iterator):
    """As the loop of onedl-mmengine does."""
    iterator.skip_iter(3)
    assert [next(iterator), next(iterator)] == [5, 6]


def test_a_loop_that_skips_a_part(iterator):
    iterator.skip_iter(2)
    assert [next(iterator), next(iterator)] == [None, 5]
