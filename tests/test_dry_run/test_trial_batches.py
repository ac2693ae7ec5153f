"""Which batches are tried, and that their own loader gives them."""

import pytest
import torch
import toys
from mmengine.runner import Runner
from torch.utils.data import DataLoader, IterableDataset

from mms_plugin.dry_run.trial_batches import (
    base_batch_size,
    choose_batches,
    load_batches,
    training_points,
)
from mms_plugin.multi_scale.dry_run_plan import DryRunPoint


def loader(dataset=None, **kwargs):
    cfg = toys.train_dataloader(num=20, dataset=dataset, **kwargs)
    return Runner.build_dataloader(cfg, seed=0)


class Records(torch.utils.data.Dataset):
    """Images with as many objects as their index says."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return index

    def get_data_info(self, index):
        return dict(instances=[{}] * index)


def test_every_size_at_its_full_batch():
    points = training_points(loader())
    assert {(p.size[0], p.batch_size) for p in points} == {
        (4, 16),
        (6, 7),
        (8, 4),
        (10, 2),
        (12, 1),
    }
    assert base_batch_size(loader()) == 4


def test_another_batch_sampler_has_one_kind_of_batch():
    assert training_points(DataLoader(Records(), batch_size=3)) == [
        DryRunPoint(None, 3)
    ]


def test_a_stream_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(3))

    with pytest.raises(ValueError, match="loads images by index, but got Stream"):
        training_points(DataLoader(Stream(), batch_size=3))


def test_spread_and_most_instances():
    plain = DataLoader(Records(), batch_size=3)
    points = training_points(plain)
    assert [batch.images for batch in choose_batches(plain, points)] == [[0, 2, 4]]
    (most,) = choose_batches(plain, points, "most_instances")
    assert most.images == [5, 4, 3]
    # No shapes are known: the images with the most objects.
    worst = choose_batches(plain, points, "worst")
    assert set(worst[0].images) == {5, 4, 3}


def test_records_without_objects():
    with pytest.raises(ValueError, match="records have 'instances', but got"):
        choose_batches(loader(), training_points(loader()), "most_instances")


def test_the_loader_gives_the_batches_in_order_at_their_sizes():
    own = loader()
    chosen = choose_batches(own, training_points(own))
    batches = list(load_batches(own, chosen))
    assert [b["i"].tolist() for b in batches] == [each.images for each in chosen]
    assert [tuple(b["inputs"].shape[2:]) for b in batches] == [
        each.point.size for each in chosen
    ]
