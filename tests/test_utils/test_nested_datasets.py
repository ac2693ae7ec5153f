"""Walks through datasets inside MMEngine's and torch's wrappers."""

import numpy as np
import pytest
import torch
from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from torch.utils.data import ConcatDataset, Dataset, Subset
from toys import ToyDataset

from mms_plugin.multi_scale import MultiScaleDataset
from mms_plugin.utils.nested_datasets import walk, with_pipelines, wrapped


@pytest.fixture
def leaf():
    return ToyDataset(num=4)


def test_a_dataset_without_others_inside(leaf):
    assert wrapped(leaf) == []
    assert list(with_pipelines(leaf)) == list(walk(leaf)) == [leaf]


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
    assert list(walk(outer)) == [outer, leaf]
    assert list(with_pipelines(outer)) == [leaf]


def test_several_levels(leaf):
    other = ToyDataset(num=2)
    repeated = RepeatDataset(leaf, times=2)
    outer = ConcatDataset([repeated, other])
    assert wrapped(outer) == [repeated, other]
    assert list(walk(outer)) == [outer, repeated, leaf, other]
    assert list(with_pipelines(outer)) == [leaf, other]


@pytest.mark.parametrize(
    "value", [7, "train", b"train", ["a", "b"], {"a": 1}, np.zeros(3), torch.zeros(3)]
)
def test_an_attribute_that_is_no_dataset_counts_for_nothing(value):
    class Named(ToyDataset):
        def __init__(self):
            self.dataset = self.datasets = value
            super().__init__(num=2)

    named = Named()
    assert wrapped(named) == []
    assert list(with_pipelines(named)) == [named]


def test_a_pipeline_beside_another_dataset(leaf):
    """Such as a dataset of Hugging Face inside the user's own."""

    class Records:
        def __getitem__(self, index):
            return index

    class Own:
        def __init__(self):
            self.dataset, self.pipeline = Records(), leaf.pipeline

    own = Own()
    assert list(with_pipelines(own)) == [own]


def test_a_wrapper_of_a_users_own(leaf):
    class Own(Dataset):
        def __init__(self):
            self.base = leaf

    own = Own()
    assert list(with_pipelines(own)) == [leaf]
    # Only the pipelines: what else it is, only its class knows.
    assert wrapped(own) == []
    leaf.parent = own  # found once
    assert list(with_pipelines(own)) == [leaf]
    leaf.other = leaf
    assert list(with_pipelines(ConcatDataset([leaf, leaf]))) == [leaf]
