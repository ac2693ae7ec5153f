"""Repeated augmentation inside the batch sampler, as the zoo's ra4 configs have it."""

from collections import Counter

import pytest
from mmengine.config import Config

pytest.importorskip("mmpretrain")

from mmpretrain.datasets import RepeatAugSampler

from mms_plugin import MultiScaleVariableBatchSampler
from tools.misc import zoo_costs

FILE = zoo_costs.zoo_configs()["resnet50_vbs_8xb128-ra4-600e_in1k"]
IMAGES, RANKS, VIEWS = 1000, 8, 4


@pytest.fixture
def batches():
    """Return a function that gives the batches of all ranks in an epoch."""
    loader = Config.fromfile(FILE).train_dataloader
    arguments = dict(loader.batch_sampler)
    assert arguments.pop("type") == "MultiScaleVariableBatchSampler"
    assert loader.sampler == dict(
        type="RepeatAugSampler", num_repeats=VIEWS, shuffle=True
    )
    samplers = []
    for rank in range(RANKS):
        inner = RepeatAugSampler(range(IMAGES), num_repeats=VIEWS, seed=5)
        # As on that rank: mmpretrain reads both when it is built.
        inner.rank, inner.world_size = rank, RANKS
        inner.num_samples = -(-IMAGES * VIEWS // RANKS)
        inner.total_size = inner.num_samples * RANKS
        inner.num_selected_samples = -(-IMAGES // RANKS)
        samplers.append(
            MultiScaleVariableBatchSampler(inner, batch_size=16, **arguments)
        )

    def of_epoch(epoch):
        for sampler in samplers:
            sampler.sampler.set_epoch(epoch)
        return [list(sampler) for sampler in samplers]

    return of_epoch


def test_four_views_of_a_quarter_of_the_images(batches):
    """Each epoch gives as many samples as images, of a quarter of them."""
    ranks = batches(0)
    seen = Counter(int(i) for rank in ranks for batch in rank for i in batch)
    assert sum(seen.values()) == IMAGES
    assert len(seen) == IMAGES / VIEWS
    assert set(seen.values()) == {VIEWS}


def test_views_lie_on_different_ranks_at_the_same_sizes(batches):
    ranks = batches(0)
    sizes = [[batch[0].size for batch in rank] for rank in ranks]
    assert all(other == sizes[0] for other in sizes) and len(set(sizes[0])) > 1
    for rank in ranks:
        indices = [int(i) for batch in rank for i in batch]
        assert len(set(indices)) == len(indices)
        assert {i.size for i in rank[0]} == {rank[0][0].size}


def test_every_view_of_an_image_is_augmented_anew(batches):
    seeds = {}
    for rank in batches(0):
        for index in (i for batch in rank for i in batch):
            seeds.setdefault(int(index), []).append(index.seed)
    assert all(len(set(each)) == VIEWS for each in seeds.values())


def test_another_epoch_has_other_images(batches):
    first, second = (
        {int(i) for rank in batches(epoch) for batch in rank for i in batch}
        for epoch in (0, 1)
    )
    assert first != second
    assert 0 < len(first & second) < IMAGES / VIEWS
