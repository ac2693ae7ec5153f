import gc
import json
import pickle
from unittest import mock

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, DefaultSampler
from mmengine.registry import DATASETS
from mmengine.runner import Runner

from mms_plugin.multi_scale import (
    MultiScaleDataset,
    MultiScaleVariableBatchSampler,
    sized_index_class,
)
from mms_plugin.multi_scale.aspect_groups import landscape_flags

# (height, width) of ten images; three are portrait.
SIZES = [(40 + i, 48 if i % 4 else 20 + i) for i in range(10)]


@pytest.fixture(scope="module", autouse=True)
def _quick_collections():
    # MMEngine collects garbage for each data set that it serializes.
    gc.freeze()
    yield
    gc.unfreeze()


@DATASETS.register_module()
class SizedImages(BaseDataset):
    """Ten images of which the records give height and width."""

    METAINFO = dict(classes=("a", "b"))

    def load_data_list(self):
        return [
            dict(i=i, height=h, width=w, label=int(i > 7))
            for i, (h, w) in enumerate(SIZES)
        ]

    def filter_data(self):
        least = (self.filter_cfg or {}).get("min_size", 0)
        return [r for r in self.data_list if min(r["height"], r["width"]) >= least]

    def get_cat_ids(self, idx):
        return [self.get_data_info(idx)["label"]]


LEAF = dict(type="SizedImages")
CONFIGS = {
    "plain": LEAF,
    "indices": dict(LEAF, indices=[7, 2, 2, 0]),
    "filtered": dict(LEAF, filter_cfg=dict(min_size=30)),
    "not serialized": dict(LEAF, serialize_data=False),
    "lazy": dict(LEAF, lazy_init=True),
    "concat": dict(type="ConcatDataset", datasets=[dict(LEAF, indices=3), LEAF]),
    "repeat": dict(type="RepeatDataset", dataset=dict(LEAF, indices=4), times=3),
    "balanced": dict(type="ClassBalancedDataset", dataset=LEAF, oversample_thr=0.9),
    "lazy repeat": dict(
        type="RepeatDataset",
        dataset=dict(LEAF, lazy_init=True),
        times=2,
        lazy_init=True,
    ),
    "nested": dict(
        type="RepeatDataset",
        times=2,
        dataset=dict(
            type="ConcatDataset",
            datasets=[
                dict(type="ClassBalancedDataset", dataset=LEAF, oversample_thr=0.9),
                dict(LEAF, indices=[9, 1], serialize_data=False),
            ],
        ),
    ),
}


def by_get_data_info(dataset):
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [[info["height"], info["width"]] for info in infos]


@pytest.mark.parametrize("name", CONFIGS)
def test_sizes_through_every_wrapper(name):
    plain = DATASETS.build(CONFIGS[name])
    plain.full_init()
    dataset = MultiScaleDataset(CONFIGS[name])
    dataset.full_init()
    expected = by_get_data_info(plain)
    assert len(expected) >= 4
    with mock.patch("mmengine.dataset.base_dataset.pickle.loads") as loads:
        assert dataset.image_sizes().tolist() == expected
        flags = landscape_flags(dataset)
    assert not loads.called
    assert flags.tolist() == [w >= h for h, w in expected]
    # The records are as MMEngine would have left them.
    for i in range(len(plain)):
        assert dataset.get_data_info(i) == plain.get_data_info(i)


@pytest.mark.parametrize("name", ["plain", "indices", "filtered", "lazy"])
def test_records_are_serialized_as_without_it(name):
    plain = DATASETS.build(CONFIGS[name])
    dataset = MultiScaleDataset(CONFIGS[name])
    for each in (plain, dataset):
        each.full_init()
    leaf = dataset.dataset
    assert leaf.serialize_data and not leaf.data_list
    assert leaf.data_bytes.tobytes() == plain.data_bytes.tobytes()
    assert leaf.data_address.tolist() == plain.data_address.tolist()


def test_images_of_mmdets_mixing_wrapper():
    pytest.importorskip("mmdet")
    mixed = dict(type="mmdet.MultiImageMixDataset", dataset=LEAF, pipeline=[])
    assert MultiScaleDataset(mixed).image_sizes().tolist() == [list(s) for s in SIZES]


def test_a_wrapper_that_takes_its_own_subset():
    pytest.importorskip("mmpretrain")
    folds = dict(type="mmpretrain.KFoldDataset", dataset=LEAF, fold=1, num_splits=5)
    dataset = MultiScaleDataset(folds)
    assert dataset.image_sizes() is None
    expected = [w >= h for h, w in by_get_data_info(dataset)]
    assert landscape_flags(dataset).tolist() == expected and len(dataset) == 8


def test_a_subset_taken_later_is_not_mixed_up_with_the_whole():
    dataset = MultiScaleDataset(LEAF)
    subset = dataset.get_subset([4, 1])
    assert landscape_flags(MultiScaleDataset(subset)).tolist() == [False, True]
    dataset.get_subset_([5, 0, 8])
    assert dataset.image_sizes() is None
    assert landscape_flags(dataset).tolist() == [True, False, False]


def test_a_slice_for_num_batch_per_epoch():
    loader = Runner.build_dataloader(
        dict(
            batch_size=2,
            num_workers=0,
            num_batch_per_epoch=3,
            sampler=dict(type="DefaultSampler", shuffle=False),
            batch_sampler=dict(
                type="MultiScaleVariableBatchSampler",
                base_size=8,
                group_by_aspect_ratio=True,
            ),
            dataset=dict(type="MultiScaleDataset", dataset=LEAF),
        ),
        seed=0,
    )
    batches = [sorted(int(i) for i in b) for b in loader.batch_sampler]
    portrait = [i for i in range(6) if SIZES[i][0] > SIZES[i][1]]
    assert portrait == [0, 4]
    assert portrait in batches and sorted(sum(batches, [])) == list(range(6))


class OwnInfo(SizedImages):
    """Its records are not what get_data_info gives."""

    def get_data_info(self, idx):
        info = super().get_data_info(idx)
        info["height"], info["width"] = info["width"], info["height"]
        return info


class Strict(SizedImages):
    """Refuses arguments that it does not know."""

    def __init__(self, **kwargs):
        unknown = set(kwargs) - {"ann_file"}
        if unknown:
            raise KeyError(*unknown)
        super().__init__()


class ReadsItsRecords(SizedImages):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.bytes = len(self.data_bytes)


@pytest.mark.parametrize("kind", [Strict, ReadsItsRecords])
def test_a_class_that_is_not_prepared_for_it_is_built_as_it_is(kind):
    dataset = MultiScaleDataset(dict(type=kind))
    assert len(dataset) == len(SIZES)
    assert dataset.image_sizes() is None
    assert landscape_flags(dataset).tolist() == [w >= h for h, w in SIZES]


def test_mmsegs_mixing_wrapper(tmp_path):
    """It takes the config of a dataset only."""
    pytest.importorskip("mmseg")
    import cv2

    for folder in ("img_dir", "ann_dir"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            image = np.zeros((20, 30, 3 if folder == "img_dir" else 1), np.uint8)
            ending = "jpg" if folder == "img_dir" else "png"
            cv2.imwrite(str(tmp_path / folder / f"{number}.{ending}"), image)
    config = dict(
        type="mmseg.MultiImageMixDataset",
        dataset=dict(
            type="mmseg.BaseSegDataset",
            data_root=str(tmp_path),
            data_prefix=dict(img_path="img_dir", seg_map_path="ann_dir"),
            metainfo=dict(classes=("a",), palette=[[0, 0, 0]]),
            img_suffix=".jpg",
            seg_map_suffix=".png",
            pipeline=[
                dict(type="LoadImageFromFile"),
                dict(type="mmseg.LoadAnnotations"),
            ],
        ),
        pipeline=[
            dict(
                type="MultiScaleTransform",
                transform=dict(type="mmseg.RandomMosaic", prob=1.0),
                size_ratio=0.5,
            )
        ],
    )
    sample = MultiScaleDataset(config)[sized_index_class((16, 24))(0)]
    assert sample["img"].shape[:2] == sample["gt_seg_map"].shape == (16, 24)


class SettledHere(SizedImages):
    def __init__(self, **kwargs):
        super().__init__(serialize_data=True, **kwargs)


@pytest.mark.parametrize(
    "dataset",
    [dict(type=OwnInfo), dict(type=SettledHere), SizedImages()],
    ids=["own get_data_info", "settled by its class", "built before"],
)
def test_where_the_records_must_be_read_one_by_one(dataset):
    dataset = MultiScaleDataset(dataset)
    assert dataset.image_sizes() is None
    expected = [w >= h for h, w in by_get_data_info(dataset)]
    assert landscape_flags(dataset).tolist() == expected


def test_built_before_and_not_serialized():
    dataset = MultiScaleDataset(SizedImages(serialize_data=False))
    assert dataset.image_sizes().tolist() == [list(size) for size in SIZES]


def test_reading_one_by_one_for_long_is_noted(monkeypatch, caplog):
    dataset = MultiScaleDataset(SizedImages())
    monkeypatch.setattr("mms_plugin.multi_scale.aspect_groups.PATIENCE", -1.0)
    with mock.patch("mms_plugin.multi_scale.aspect_groups.print_log") as log:
        landscape_flags(dataset)
    assert log.call_count == 1
    assert "the config of the dataset" in log.call_args[0][0]


def test_workers_get_no_copy_of_the_sizes():
    dataset = MultiScaleDataset(LEAF)
    assert dataset.image_sizes() is not None
    again = pickle.loads(pickle.dumps(dataset))
    assert again.image_sizes() is None and again.get_data_info(3)["i"] == 3
    built_before = MultiScaleDataset(SizedImages())
    assert len(pickle.dumps(dataset)) == len(pickle.dumps(built_before))


def test_no_sample_left():
    with pytest.raises(ValueError, match=r"at least one sample.*'min_size': 99"):
        MultiScaleDataset(dict(LEAF, filter_cfg=dict(min_size=99)))
    lazy = MultiScaleDataset(dict(LEAF, filter_cfg=dict(min_size=99), lazy_init=True))
    with pytest.raises(ValueError, match=r"at least one sample.*'min_size': 99"):
        len(lazy)


def test_records_without_width_name_the_image():
    class SomeWithout(SizedImages):
        def load_data_list(self):
            records = super().load_data_list()
            del records[6]["width"]
            return records

        def filter_data(self):
            return self.data_list

    dataset = MultiScaleDataset(dict(type=SomeWithout))
    with pytest.raises(ValueError, match=r"'width' and 'height'.*image 6"):
        MultiScaleVariableBatchSampler(
            DefaultSampler(dataset, seed=0), 2, 8, group_by_aspect_ratio=True
        )


@pytest.mark.parametrize("lazy", [False, True])
def test_an_annotation_file_without_width(lazy, tmp_path):
    pytest.importorskip("mmdet")
    image = dict(id=1, file_name="1.jpg", height=4)
    box = dict(id=1, image_id=1, category_id=1, bbox=[0, 0, 2, 2], area=4, iscrowd=0)
    path = tmp_path / "instances.json"
    categories = [dict(id=1, name="a")]
    path.write_text(
        json.dumps(dict(images=[image], annotations=[box], categories=categories))
    )
    config = dict(
        type="mmdet.CocoDataset",
        ann_file=str(path),
        data_prefix=dict(img=""),
        metainfo=dict(classes=("a",)),
        lazy_init=lazy,
    )
    with pytest.raises(ValueError) as error:
        MultiScaleDataset(config).full_init()
    assert "'width' and 'height'" in str(error.value)
    assert "group_by_aspect_ratio" in str(error.value)
    assert "instances.json" in str(error.value)


def test_other_missing_keys_stay_what_they_are():
    class Broken(SizedImages):
        def load_data_list(self):
            raise KeyError("label")

    with pytest.raises(KeyError, match="label"):
        MultiScaleDataset(dict(type=Broken))


def test_sides_are_exact():
    class Large(SizedImages):
        def load_data_list(self):
            return [dict(height=2**24 - 1, width=2**24 - 2)]

    sizes = MultiScaleDataset(dict(type=Large)).image_sizes()
    assert sizes.astype(np.int64).tolist() == [[2**24 - 1, 2**24 - 2]]
