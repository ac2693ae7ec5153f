"""Samples of datasets, counted from their configs."""

import json
import os

import pytest
from mmengine.registry import DATASETS
from toy_configs import plain, training

from mms_plugin.analysis import config_plan, count_samples


@DATASETS.register_module()
class FolderOfFiles:
    """A dataset of a user's own, which is none of MMEngine's."""

    def __init__(self, data_root):
        self.names = os.listdir(data_root)

    def __len__(self):
        return len(self.names)


class TestSamples:
    def test_known_sizes(self):
        imagenet = dict(type="ImageNet", data_root="/nowhere", split="train")
        assert count_samples(imagenet).number == 1_281_167
        coco = dict(
            type="mmdet.CocoDataset",
            data_root="/nowhere",
            ann_file="annotations/instances_train2017.json",
        )
        assert count_samples(coco).number == 118_287
        coco["filter_cfg"] = dict(filter_empty_gt=True, min_size=32)
        assert count_samples(coco).number == 117_266
        panoptic = dict(
            coco,
            type="CocoPanopticDataset",
            ann_file="annotations/panoptic_train2017.json",
        )
        assert count_samples(panoptic) == (
            117_266,
            "COCO train2017's images with objects, for those with things",
        )

    def test_known_sizes_are_those_of_all_classes(self):
        some = dict(metainfo=dict(classes=("person",)), data_root="/nowhere")
        with pytest.raises(ValueError, match="ImageNet is not known.*num_samples"):
            count_samples(dict(type="ImageNet", split="train", **some))
        coco = dict(type="CocoDataset", ann_file="instances_train2017.json", **some)
        assert count_samples(coco).number == 118_287  # images without objects stay
        with pytest.raises(ValueError, match="CocoDataset is not known"):
            count_samples(dict(coco, filter_cfg=dict(filter_empty_gt=True)))

    @pytest.mark.parametrize("classes", [20, 1000])
    def test_folders_of_imagenet(self, tmp_path, classes):
        pytest.importorskip("mmpretrain")
        for number in range(classes):
            path = tmp_path / "train" / f"{number:04}" / "a.jpg"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")
        dataset = dict(
            type="mmpretrain.ImageNet", data_root=str(tmp_path), split="train"
        )
        # A million files are not looked through for a known number.
        expected = (
            (1_281_167, "ImageNet-1k's training set")
            if classes == 1000
            else (classes, str(tmp_path / "train"))
        )
        if classes != 1000:
            names = [f"class {number}" for number in range(classes)]
            dataset["metainfo"] = dict(classes=names)
        assert count_samples(dataset) == expected

    def test_a_class_without_arguments_of_mmengine(self, tmp_path):
        dataset = dict(type="FolderOfFiles", data_root=str(tmp_path))
        (tmp_path / "a.bin").write_bytes(b"")
        assert count_samples(dataset).number == 1

    def test_files_that_the_dataset_refuses(self, tmp_path):
        pytest.importorskip("mmdet")
        path = tmp_path / "boxes.json"
        path.write_text("{}")
        dataset = dict(type="mmdet.CocoDataset", ann_file=str(path), pipeline=[])
        with pytest.raises(ValueError) as error:
            count_samples(dataset)
        text = str(error.value)
        assert text.startswith(f"CocoDataset cannot be built from {path}: KeyError")
        assert "set num_samples" in text

    def test_cifar_is_known_and_not_downloaded(self, tmp_path):
        cifar = dict(type="CIFAR100", data_root=str(tmp_path), split="train")
        assert count_samples(cifar).number == 50_000
        with pytest.raises(ValueError, match="set num_samples"):
            count_samples(dict(cifar, data_root="/nowhere", split="test"))

    def test_wrappers(self):
        imagenet = dict(type="ImageNet", data_root="/nowhere", split="train")
        repeated = dict(type="RepeatDataset", times=3, dataset=imagenet)
        both = dict(type="ConcatDataset", datasets=[repeated, imagenet])
        assert count_samples(dict(type="MultiScaleDataset", dataset=both)) == (
            4 * 1_281_167,
            "3 times ImageNet-1k's training set and ImageNet-1k's training set",
        )
        assert count_samples(dict(imagenet, indices=500)).number == 500
        assert count_samples(dict(imagenet, indices=-10)).number == 10  # the last ten
        # They tell the number where nothing else does.
        absent = dict(type="CocoDataset", ann_file="/nowhere/own.json", indices=100)
        assert count_samples(absent) == (100, "indices of the dataset")

    def test_a_wrapper_whose_own_number_depends_on_the_files(self, tmp_path):
        pytest.importorskip("mmpretrain")
        for index in range(10):
            (tmp_path / "a").mkdir(exist_ok=True)
            (tmp_path / "a" / f"{index}.jpg").touch()
        inner = dict(
            type="mmpretrain.CustomDataset", data_root=str(tmp_path), pipeline=[]
        )
        folds = dict(num_splits=5, test_mode=False)
        wrapped = dict(type="mmpretrain.KFoldDataset", dataset=inner, **folds)
        assert count_samples(wrapped) == (8, str(tmp_path))

    def test_an_annotation_file_that_is_there(self, tmp_path):
        pytest.importorskip("mmdet")
        images = [
            dict(id=i, file_name=f"{i}.jpg", height=64, width=64) for i in range(5)
        ]
        annotations = [
            dict(id=i, image_id=i, category_id=1, iscrowd=0, bbox=[1, 1, 9, 9], area=81)
            for i in range(3)
        ]
        path = tmp_path / "instances_train2017.json"
        path.write_text(
            json.dumps(
                dict(
                    images=images,
                    annotations=annotations,
                    categories=[dict(id=1, name="thing")],
                )
            )
        )
        dataset = dict(
            type="mmdet.CocoDataset",
            data_root=str(tmp_path),
            ann_file=path.name,
            data_prefix=dict(img=""),
            metainfo=dict(classes=("thing",)),
            pipeline=[dict(type="NoSuchTransform")],
        )
        assert count_samples(dataset) == (5, str(path))
        filtered = dict(dataset, filter_cfg=dict(filter_empty_gt=True))
        assert count_samples(filtered).number == 3
        assert count_samples(dict(dataset, indices=-2)).number == 2
        # Three of five images have the class: 0.6 of them. It is drawn sqrt(0.9 / 0.6)
        # = 1.22 times as often, rounded up to whole images.
        balanced = dict(
            type="ClassBalancedDataset", oversample_thr=0.9, dataset=dataset
        )
        assert count_samples(balanced) == (2 + 3 * 2, str(path))
        inner = dict(type="ConcatDataset", datasets=[dataset, dataset])
        both = dict(type="ClassBalancedDataset", oversample_thr=0.9, dataset=inner)
        with pytest.raises(ValueError, match="cannot be built from .*get_cat_ids"):
            count_samples(both)
        again = dict(type="RepeatDataset", times=3, dataset=balanced)
        assert count_samples(again).number == 3 * 8
        absent = dict(balanced, dataset=dict(dataset, ann_file="nowhere.json"))
        with pytest.raises(ValueError, match="ClassBalancedDataset is not known"):
            count_samples(absent)

    @pytest.mark.parametrize("apart", [True, False])
    def test_a_folder_of_images_without_annotations(self, tmp_path, apart):
        pytest.importorskip("mmpretrain")
        for number in range(3):
            path = tmp_path / "train" / "abc"[number] / "a.jpg"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"")
        places = dict(data_root=str(tmp_path), data_prefix="train")
        if not apart:
            places = dict(data_prefix=str(tmp_path / "train"))
        dataset = dict(type="mmpretrain.CustomDataset", pipeline=[], **places)
        assert count_samples(dataset).number == 3
        missing = dict(dataset, data_prefix="nowhere")
        with pytest.raises(ValueError, match="neither its annotations nor its images"):
            count_samples(missing)

    def test_batches_of_an_epoch(self):
        config = plain()
        config.train_dataloader.num_batch_per_epoch = 7
        planned = config_plan(config, base_size=(8, 8), world_size=2)
        assert planned.iterations == 14
        assert planned.samples.number == 7 * 4 * 2

    def test_not_known(self):
        with pytest.raises(ValueError, match="ToyDataset is not known.*--num-samples"):
            config_plan(training())
