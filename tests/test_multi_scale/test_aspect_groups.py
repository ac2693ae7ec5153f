import random
from unittest import mock

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler, InfiniteSampler

from mms_plugin.multi_scale import MultiScaleVariableBatchSampler, ResolutionCurriculum
from mms_plugin.multi_scale.aspect_groups import deal_batches, landscape_flags


class Images:
    """Images of which ``landscape`` says whether they are at least as wide as high."""

    def __init__(self, landscape):
        self.landscape = landscape

    def __len__(self):
        return len(self.landscape)

    def __getitem__(self, index):
        return index

    def get_data_info(self, index):
        wide = self.landscape[index]
        return dict(width=4 if wide else 2, height=4 if index % 2 else 3)


def images(num, share, seed=0):
    rng = random.Random(seed)
    return Images([rng.random() < share for _ in range(num)])


def make(dataset, rank=0, world_size=1, sampler=DefaultSampler, **kwargs):
    with mock.patch(
        "mmengine.dataset.sampler.get_dist_info", return_value=(rank, world_size)
    ):
        inner = sampler(dataset, seed=3)
    kwargs = {"batch_size": 8, "base_size": 8, "sizes": [4, 6, 8, 12], **kwargs}
    return MultiScaleVariableBatchSampler(inner, group_by_aspect_ratio=True, **kwargs)


def check_kinds(batches, dataset):
    for batch in batches:
        assert len({dataset.landscape[i] for i in batch}) == 1
        assert len({i.size for i in batch}) == 1


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("num", [200, 333, 1000])
def test_each_index_once_and_never_both_kinds(num, share):
    dataset = images(num, share)
    sampler = make(dataset)
    full = dict(zip(sampler.sizes, sampler.batch_sizes))
    assert max(full.values()) == 32
    for epoch in range(4):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        check_kinds(batches, dataset)
        assert sorted(i for b in batches for i in b) == list(range(num))
        shapes = [(*b[0].size, len(b)) for b in batches]
        assert shapes == sampler.plan(epoch) and len(batches) == len(sampler)
        missing = [full[b[0].size] - len(b) for b in batches]
        # One largest batch less an image for the groups, and what the last is cut by.
        assert min(missing) >= 0 and 31 <= sum(missing) <= 31 + 31


def test_the_sampler_shows_which_images_are_landscape():
    dataset = images(50, 0.3)
    sampler = make(dataset)
    assert sampler.landscape.tolist() == dataset.landscape
    ungrouped = MultiScaleVariableBatchSampler(sampler.inner_sampler, 8, 8, [4, 8])
    assert ungrouped.landscape is None


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_drop_last(share):
    dataset = images(500, share)
    sampler = make(dataset, drop_last=True)
    full = dict(zip(sampler.sizes, sampler.batch_sizes))
    for epoch in range(4):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        check_kinds(batches, dataset)
        assert all(len(b) == full[b[0].size] for b in batches)
        given = [i for b in batches for i in b]
        assert len(set(given)) == len(given) > 500 - 2 * 32
        assert len(batches) == len(sampler)


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("by_epoch", [True, False])
def test_ranks_agree_though_their_shares_differ(drop_last, by_epoch):
    # All portrait images lie on the first rank.
    dataset = Images([i % 4 != 0 for i in range(1201)])
    samplers = [
        make(dataset, rank, 4, sampler=Unshuffled, drop_last=drop_last)
        for rank in range(4)
    ]
    for sampler in samplers:
        sampler.set_curriculum(
            ResolutionCurriculum(start_sizes=[4], by_epoch=by_epoch), max_epochs=3
        )
    for epoch in range(3):
        plans, given = [], []
        for sampler in samplers:
            sampler.set_epoch(epoch)
            batches = list(sampler)
            check_kinds(batches, dataset)
            plans.append([b[0].size for b in batches])
            given += [int(i) for b in batches for i in b]
        assert plans.count(plans[0]) == 4 and len(samplers[0]) == len(plans[0])
        if not drop_last:
            assert set(given) == set(range(1201))


class Unshuffled(DefaultSampler):
    def __init__(self, dataset, seed):
        super().__init__(dataset, shuffle=False, seed=seed, round_up=True)


def test_endless():
    dataset = images(300, 0.3)
    sampler = make(dataset, sampler=InfiniteSampler)
    stream = iter(sampler)
    batches = [next(stream) for _ in range(400)]
    check_kinds(batches, dataset)
    assert [(*b[0].size, len(b)) for b in batches] == sampler.plan_iterations(0, 400)
    seen = np.bincount([int(i) for b in batches for i in b], minlength=300)
    # Each image at an even pace: at most what waits for its turn is behind.
    assert seen.max() - seen.min() <= 2


def test_dealing_by_brute_force():
    rng = random.Random(0)
    checked = 0
    for _ in range(200):
        largest = rng.randint(1, 20)
        counts = [rng.randint(0, 300), rng.randint(0, 300)]
        capacities = []
        while sum(capacities) < sum(counts) + largest - 1:
            capacities.append(rng.randint(1, largest))
        capacities[-1] -= sum(capacities) - (sum(counts) + largest - 1)
        if len(capacities) > sum(counts):  # more batches than images
            continue
        checked += 1
        groups, batch_sizes = deal_batches(np.array(capacities), counts)
        for group, count in enumerate(counts):
            assert batch_sizes[groups == group].sum() == count
        assert (batch_sizes >= 1).all() and (batch_sizes <= capacities).all()
    assert checked > 150


def test_square_images_are_landscape():
    assert landscape_flags(Images([True, False])).tolist() == [True, False]
    info = {"width": 3, "height": 3}
    square = mock.Mock(get_data_info=lambda i: info, __len__=lambda self: 1)
    square.__len__ = lambda self: 1
    assert landscape_flags(square).tolist() == [True]


def test_annotations_without_width():
    class Bare(Images):
        def get_data_info(self, index):
            return dict(img_path="a.jpg")

    with pytest.raises(ValueError, match=r"'width' and 'height'.*img_path"):
        make(Bare([True] * 50))


def test_data_set_without_annotations():
    with pytest.raises(ValueError, match="get_data_info"):
        make(list(range(50)))


def test_too_few_images():
    with pytest.raises(ValueError, match="group_by_aspect_ratio=True needs at least"):
        make(images(1, 0.5))


class Sides(Images):
    """Images of the shapes that photographs have."""

    SHAPES = ((480, 640), (427, 640), (640, 480), (640, 427), (640, 640), (333, 640))

    def __init__(self, num, seed):
        rng = random.Random(seed)
        self.shapes = [rng.choice(self.SHAPES) for _ in range(num)]
        super().__init__([width >= height for height, width in self.shapes])

    def get_data_info(self, index):
        return dict(zip(("height", "width"), self.shapes[index]))


def wasted(batches, dataset, size, divisor=32):
    """Part of the pixels of batches bounded by ``size`` that no image covers."""
    covered = padded = 0
    for batch in batches:
        shapes = [
            [int(side * size / max(dataset.shapes[i]) + 0.5) for side in shape]
            for i in batch
            for shape in [dataset.shapes[i]]
        ]
        sides = [-(-max(column) // divisor) * divisor for column in zip(*shapes)]
        covered += sum(height * width for height, width in shapes)
        padded += len(shapes) * sides[0] * sides[1]
    return 1 - covered / padded


@pytest.mark.parametrize("num, batch_size", [(103, 8), (250, 16), (90, 2)])
def test_no_more_padding_than_with_mmdets_own(num, batch_size):
    pytest.importorskip("mmdet")
    from mmdet.datasets.samplers import AspectRatioBatchSampler

    means = []
    for ours in (True, False):
        shares = []
        for seed in range(5):
            dataset = Sides(num, seed)
            inner = DefaultSampler(dataset, seed=seed)
            sampler = (
                MultiScaleVariableBatchSampler(
                    inner, batch_size, 224, group_by_aspect_ratio=True
                )
                if ours
                else AspectRatioBatchSampler(inner, batch_size)
            )
            for epoch in range(3):
                (sampler if ours else inner).set_epoch(epoch)
                shares.append(wasted(list(sampler), dataset, 224))
        means.append(np.mean(shares))
    assert means[0] <= means[1]
