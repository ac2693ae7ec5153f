"""Indices that carry the size and the seed of their batch."""

import pickle

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
    assert pickle.loads(pickle.dumps(batch))[1].seed == 2**63 + 5


def test_arithmetic_gives_plain_integers():
    index = sized_index_class((8, 8))(3)
    assert index.seed is None
    assert type(index + 1) is int and type(index % 2) is int
