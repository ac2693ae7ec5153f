import copy
import pickle

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import Compose, RepeatDataset
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch.utils.data import IterableDataset
from toys import PIPELINE, MakeImage, ToyDataset, train_dataloader

from mms_plugin.multi_scale import MultiScaleDataset, size_in_use, sized_index_class

INDEX = sized_index_class((6, 8))


def toy(num=10, pipeline=PIPELINE, **kwargs):
    return dict(type="ToyDataset", num=num, pipeline=pipeline, **kwargs)


WRAPPED = {
    "plain": toy(),
    "concat": dict(type="ConcatDataset", datasets=[toy(4), toy(6)]),
    "repeat": dict(type="RepeatDataset", dataset=toy(5), times=2),
    "balanced": dict(type="ClassBalancedDataset", dataset=toy(), oversample_thr=0.9),
    "nested": dict(
        type="RepeatDataset",
        times=2,
        dataset=dict(type="ConcatDataset", datasets=[toy(2), toy(3)]),
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_size_reaches_the_pipeline_through_every_wrapper(name):
    dataset = MultiScaleDataset(WRAPPED[name])
    dataset.full_init()
    plain = DATASETS.build(WRAPPED[name])
    assert len(dataset) == len(plain) >= 10
    assert dataset.metainfo["classes"] == ("a", "b", "c")
    for i in range(len(dataset)):
        sample = dataset[INDEX(i)]
        assert sample["target_size"].tolist() == [6, 8]
        assert sample["inputs"].shape == (3, 6, 8)
        assert sample["i"] == plain.get_data_info(i)["i"]
    assert size_in_use() is None


def test_size_is_in_the_sample_before_the_first_transform():
    seen = []

    class See:
        def __call__(self, results):
            seen.append(dict(results))
            return results

    dataset = MultiScaleDataset(ToyDataset(num=3, pipeline=[See()]))
    sample = dataset[INDEX(1)]
    assert seen[0]["target_size"] == (6, 8) and seen[0]["i"] == 1
    assert sample["target_size"] == (6, 8)


def test_refetched_samples_have_the_size_of_the_batch():
    dataset = MultiScaleDataset(toy(10, [dict(type="LoseOnce"), *PIPELINE]))
    for _ in range(20):
        sample = dataset[INDEX(3)]
        assert sample["i"] % 2 == 0 and sample["inputs"].shape == (3, 6, 8)


def test_plain_torch_dataset():
    class Plain(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return dict(x=index)

    sample = MultiScaleDataset(Plain())[INDEX(2)]
    assert sample == dict(x=2, target_size=(6, 8))


def test_a_cache_keeps_no_size():
    pytest.importorskip("mmcv")
    kept = {}

    class Cache:
        def __call__(self, results):
            # As it was at first, with the size of then.
            return dict(kept.setdefault(results["i"], dict(results)))

    resize = dict(
        type="MultiScaleTransform", transform=dict(type="mmcv.Resize", keep_ratio=False)
    )
    pipeline = [Cache(), MakeImage((16, 16)), resize]
    dataset = MultiScaleDataset(ToyDataset(num=2, pipeline=pipeline))
    for size in ((6, 8), (4, 4), (8, 6)):
        sample = dataset[sized_index_class(size)(0)]
        assert sample["img"].shape[:2] == size

    class Sample(dict):
        pass

    samples = [Sample(inputs=torch.zeros(1)), dict(target_size=(2, 2))]
    plain = MultiScaleDataset(samples)
    for size in ((6, 8), (4, 4)):
        found = plain[sized_index_class(size)(0)]
        assert type(found) is Sample and found["target_size"] == size
        assert plain[sized_index_class(size)(1)]["target_size"] == (2, 2)
    assert list(samples[0]) == ["inputs"]


def test_a_wrapper_with_a_pipeline_counts_no_image_twice():
    class Mixing:
        def __init__(self, dataset):
            self.dataset, self.pipeline = dataset, dict

        def __getitem__(self, index):
            return self.pipeline(self.dataset[index])

        def __len__(self):
            return len(self.dataset)

    dataset = MultiScaleDataset(Mixing(ToyDataset(num=4, pipeline=PIPELINE)))
    for index in range(4):
        assert dataset[INDEX(index)]["inputs"].shape == (3, 6, 8)
    assert dataset.size_losses()[6, 8].images == 4


def test_a_dataset_that_handles_errors_of_its_pipeline():
    class Missing:
        def __call__(self, results):
            if results["i"] < 2:
                raise FileNotFoundError(results["i"])
            return results

    class Skipping(ToyDataset):
        def prepare_data(self, index):
            try:
                return super().prepare_data(index)
            except OSError:
                return super().prepare_data(2)

    dataset = MultiScaleDataset(Skipping(num=3, pipeline=[Missing()]))
    assert dataset[INDEX(0)]["i"] == 2
    # One that does not handle them gets the original's, with the file.
    dataset = MultiScaleDataset(ToyDataset(num=3, pipeline=[Missing()]))
    with pytest.raises(FileNotFoundError):
        dataset[INDEX(0)]


@pytest.mark.parametrize("by_name", [False, True])
def test_a_pipeline_of_several_arguments(by_name):
    class Own:
        def __init__(self):
            self.pipeline = lambda image, data: (image, data["target_size"])

        def __getitem__(self, index):
            if by_name:
                return self.pipeline(image=7, data={})
            return self.pipeline(7, {})

        def __len__(self):
            return 3

    assert MultiScaleDataset(Own())[INDEX(1)] == (7, (6, 8))


def test_a_pipeline_that_cannot_be_set():
    class Own(ToyDataset):
        @property
        def pipeline(self):
            return self._pipeline

        @pipeline.setter
        def pipeline(self, value):
            if hasattr(self, "_pipeline"):
                raise AttributeError("no setter")
            self._pipeline = value

    sample = MultiScaleDataset(Own(num=2, pipeline=[]))[INDEX(0)]
    assert sample["target_size"] == (6, 8)


def test_plain_index_sets_no_size():
    dataset = MultiScaleDataset(ToyDataset(num=3, pipeline=[]))
    assert "target_size" not in dataset[1]
    # Nor does a failed sample leave one behind.
    with pytest.raises(IndexError):
        dataset[INDEX(99)]
    assert size_in_use() is None


def test_wrapping_changes_no_other_data_set():
    shared = ToyDataset(num=3, pipeline=[])
    MultiScaleDataset(shared)
    assert "target_size" not in shared[0]


@pytest.mark.parametrize("outer", [False, True])
def test_a_new_pipeline_gets_the_size_too(outer):
    # As mmdet's PipelineSwitchHook and mmpretrain's SwitchRecipeHook do.
    dataset = MultiScaleDataset(RepeatDataset(ToyDataset(num=3, pipeline=[]), 2))
    new = Compose(PIPELINE)
    if outer:
        dataset = MultiScaleDataset(ToyDataset(num=3, pipeline=[]))
        dataset.pipeline = new
        assert dataset.pipeline is new
        assert dataset[INDEX(0)]["inputs"].shape == (3, 6, 8)
    else:
        dataset.dataset.dataset.pipeline = Compose(PIPELINE[:1])
        assert dataset[INDEX(0)]["img"].shape == (6, 8, 3)
        own = Compose([lambda results: dict(seen=results["target_size"])])
        dataset.dataset.dataset.pipeline = own
        assert dataset[INDEX(1)]["seen"] == (6, 8)


def test_attributes_are_the_wrapped_data_sets():
    dataset = MultiScaleDataset(ToyDataset(num=3, pipeline=[]))
    assert dataset.get_cat_ids(1) == [1] and dataset.num == 3
    with pytest.raises(AttributeError):
        dataset.nothing  # noqa: B018
    again = pickle.loads(pickle.dumps(dataset))
    assert again[INDEX(0)]["target_size"] == (6, 8)


def test_arguments_of_an_inherited_dataset():
    with pytest.raises(TypeError, match="takes dataset only, but got data_root, pip"):
        MultiScaleDataset(ToyDataset(), data_root="data", pipeline=[])
    with pytest.raises(TypeError, match="_delete_=True beside type='Mul"):
        MultiScaleDataset(ToyDataset(), data_root="data")
    # As in a python-style config, where update() does not apply it.
    loader = ConfigDict(dataset=dict(type="ToyDataset", data_root="data"))
    new = dict(type="MultiScaleDataset", _delete_=True, dataset=ToyDataset())
    updated, merged = copy.deepcopy(loader), copy.deepcopy(loader)
    updated.update(dict(dataset=new))
    with pytest.raises(TypeError, match=r"Write train_dataloader.merge\(dict"):
        DATASETS.build(updated.dataset)
    merged.merge(dict(dataset=new))
    assert isinstance(DATASETS.build(merged.dataset), MultiScaleDataset)


class Stream(IterableDataset):
    def __iter__(self):
        yield from range(3)


@pytest.mark.parametrize("value", [3, None, "ToyDataset", Stream()])
def test_bad_dataset(value):
    with pytest.raises(TypeError, match="dataset must be a map-style dataset"):
        MultiScaleDataset(value)


@pytest.mark.parametrize(
    "workers, method, persistent",
    [
        (0, "fork", False),
        (2, "fork", False),
        (2, "fork", True),
        (1, "spawn", False),
        (2, "spawn", True),
    ],
)
def test_workers(workers, method, persistent):
    cfg = train_dataloader(40, num_workers=workers, persistent_workers=persistent)
    if workers:
        cfg["multiprocessing_context"] = method
    loader = Runner.build_dataloader(cfg, seed=1)
    for epoch in range(2):
        loader.batch_sampler.set_epoch(epoch)
        batches = list(loader)
        assert [
            (*batch["inputs"].shape[2:], len(batch["inputs"])) for batch in batches
        ] == loader.batch_sampler.plan(epoch)
        for batch in batches:
            size = list(batch["inputs"].shape[2:])
            assert batch["target_size"].tolist() == [size] * len(batch["inputs"])
        seen = sorted(i for batch in batches for i in batch["i"].tolist())
        assert seen == list(range(40))


def test_built_in_the_scope_of_the_config():
    assert MakeImage.__name__ in str(MultiScaleDataset(toy()).pipeline)
