"""Walks through datasets inside MMEngine's and torch's wrappers."""

import pytest
from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from torch.utils.data import ConcatDataset, Subset
from toys import ToyDataset

from mms_plugin.multi_scale import MultiScaleDataset
from mms_plugin.utils.nested_datasets import leaves, walk, wrapped


@pytest.fixture
def leaf():
    return ToyDataset(num=4)


def test_a_dataset_without_others_inside(leaf):
    assert wrapped(leaf) == []
    assert list(leaves(leaf)) == list(walk(leaf)) == [leaf]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda leaf: RepeatDataset(leaf, times=2),
        lambda leaf: ClassBalancedDataset(leaf, oversample_thr=0.1),
        lambda leaf: Subset(leaf, [0, 1]),
        lambda leaf: MultiScaleDataset(leaf),
    ],
    ids=["repeat", "balanced", "subset", "multi-scale"],
)
def test_one_inside(leaf, wrap):
    outer = wrap(leaf)
    assert wrapped(outer) == [leaf]
    assert list(walk(outer)) == [outer, leaf] and list(leaves(outer)) == [leaf]


def test_several_levels(leaf):
    other = ToyDataset(num=2)
    repeated = RepeatDataset(leaf, times=2)
    outer = ConcatDataset([repeated, other])
    assert wrapped(outer) == [repeated, other]
    assert list(walk(outer)) == [outer, repeated, leaf, other]
    assert list(leaves(outer)) == [leaf, other]


def test_an_attribute_that_is_no_dataset_counts_for_nothing():
    class Named:
        dataset = None

        def __init__(self):
            self.dataset = 7

    assert wrapped(Named()) == []
