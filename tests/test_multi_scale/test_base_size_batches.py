"""Images at the base size, loaded beside a training."""

import pytest
import toys
from mmengine.runner import Runner

from mms_plugin.multi_scale import base_size_batches
from mms_plugin.multi_scale.base_size_batches import base_size_loader


def loader(**changes):
    return Runner.build_dataloader(toys.train_dataloader(**changes), seed=5)


def content(batches):
    return [
        (tuple(batch["inputs"].shape), batch["target_size"].tolist()[0], batch["i"])
        for batch in batches
    ]


def test_batches_have_the_base_size_and_leave_the_training_alone():
    training = loader(num=50, base_size=(8, 6))
    before = [batch.copy() for batch in training.batch_sampler]
    found = content(base_size_loader(training, 3))
    assert [(shape, size) for shape, size, _ in found] == [((4, 3, 8, 6), [8, 6])] * 3
    indices = [i for _, _, batch in found for i in batch.tolist()]
    assert len(set(indices)) == 12
    again = content(base_size_loader(loader(num=50, base_size=(8, 6)), 3))
    assert [i for _, _, batch in again for i in batch.tolist()] == indices
    assert list(training.batch_sampler) == before
    assert training.dataset.size_losses() == {}
    # Not as many batches as asked for: every image once at most.
    assert len(base_size_loader(training, 100)) == 12


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_images(monkeypatch, world_size):
    seen, seeds = [], []
    for rank in range(world_size):
        monkeypatch.setattr(
            base_size_batches, "get_dist_info", lambda rank=rank: (rank, world_size)
        )
        batches = base_size_loader(loader(num=50), 3).batch_sampler
        assert [len(batch) for batch in batches] == [4] * 3
        assert {index.size for batch in batches for index in batch} == {(8, 8)}
        seen += [int(index) for batch in batches for index in batch]
        seeds.append([batch[0].seed for batch in batches])
    assert len(set(seen)) == len(seen) == 12 * world_size
    assert len(set(seeds[0])) == 3
    assert all(each == seeds[0] for each in seeds)
