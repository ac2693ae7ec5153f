"""Indices that carry the size and the seed of their batch."""

import pickle

import pytest
from mmengine.dataset import DefaultSampler

from mms_plugin.multi_scale import (
    MultiScaleVariableBatchSampler,
    SizedIndex,
    sized_index_class,
)
from mms_plugin.multi_scale.sized_index import sized_batch


def make():
    sampler = DefaultSampler(range(103), shuffle=True, seed=3)
    return MultiScaleVariableBatchSampler(sampler, 4, base_size=8, sizes=[4, 8])


def test_index_is_an_int_that_survives_pickling():
    index = next(iter(make()))[0]
    assert isinstance(index, int) and isinstance(index, SizedIndex)
    assert list(range(1000))[index] == index
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(index, protocol))
        assert again == index and again.size == index.size
        assert type(again) is type(index)
    assert {index: 1}[int(index)] == 1


def test_a_batch_has_its_size_and_its_seed():
    batch = sized_batch([3, 5], (32, 48), seed=2**63 + 5)
    other = sized_batch([3], (48, 32), seed=1)
    assert batch == [3, 5] and [index.size for index in batch] == [(32, 48)] * 2
    assert [index.seed for index in batch] == [2**63 + 5] * 2
    assert (other[0].size, other[0].seed) == ((48, 32), 1)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(batch, protocol))
        assert again == batch and type(again) is type(batch)
        assert [(type(i), i.size, i.seed) for i in again] == [
            (type(i), i.size, i.seed) for i in batch
        ]


def test_a_batch_is_pickled_as_plain_integers():
    batch = sized_batch(range(1000, 1128), (32, 48), seed=3)
    plain = pickle.dumps(list(range(1000, 1128)))
    assert len(pickle.dumps(batch)) < len(plain) + 200
    assert len(pickle.dumps(list(batch))) > 4 * len(plain)


def test_an_index_that_comes_again_has_another_seed():
    batch = sized_batch([3, 5, 3, 3], (32, 48), seed=7)
    seeds = [index.seed for index in batch]
    assert seeds[:2] == [7, 7] and len(set(seeds)) == 3
    assert [index.seed for index in sized_batch([3, 5, 3, 3], (32, 48), 7)] == seeds
    again = pickle.loads(pickle.dumps(batch))
    assert [(int(i), i.size, i.seed) for i in again] == [
        (int(i), i.size, i.seed) for i in batch
    ]
    many = sized_batch([*range(1000, 1064)] * 2, (32, 48), seed=3)
    plain = pickle.dumps([*range(1000, 1064)] * 2)
    assert len(pickle.dumps(many)) < len(plain) + 200


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: batch.append(7),
        lambda batch: batch.extend(sized_batch([1], (8, 8), seed=4)),
        lambda batch: batch.insert(0, sized_index_class((8, 8))(4)),
        lambda batch: batch.clear(),
    ],
)
def test_a_changed_batch_keeps_what_each_index_has(change):
    batch = sized_batch([3, 5], (32, 48), seed=1)
    change(batch)
    again = pickle.loads(pickle.dumps(batch))

    def told(index):
        return int(index), getattr(index, "size", None), getattr(index, "seed", None)

    assert list(map(told, again)) == list(map(told, batch))


def test_parts_of_a_batch_keep_size_and_seed():
    batch = sized_batch([3, 5, 9], (32, 48), seed=1)
    for part in (batch[1:], batch + batch, sorted(batch), [*batch], batch.copy()):
        assert {(index.size, index.seed) for index in part} == {((32, 48), 1)}
        assert pickle.loads(pickle.dumps(part))[0].seed == 1


def test_a_sampler_of_pairs_is_named():
    """As mmdet's ``TrackImgSampler``, which gives a video and a frame."""
    with pytest.raises(TypeError, match=r"whole numbers as indices, but gave \(0, 1\)"):
        sized_batch([(0, 1), (0, 2)], (4, 4), 5)


def test_arithmetic_gives_plain_integers():
    index = sized_index_class((8, 8))(3)
    assert index.seed is None
    assert type(index + 1) is int and type(index % 2) is int
