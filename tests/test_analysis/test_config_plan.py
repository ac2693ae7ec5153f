"""Plans from configs alone against the samplers that a training builds."""

import json
import os
from collections import Counter

import mmengine.dataset.sampler
import pytest
import toys
from mmengine.config import ConfigDict
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner

from mms_plugin.analysis import (
    config_plan,
    count_samples,
    counted_size,
    fixed_size,
    is_multi_scale,
)

CURRICULUM = dict(type="ResolutionCurriculumHook", start_sizes=[4], end=0.6)
BY_ITERATION = dict(by_epoch=False, max_iters=50, val_interval=20)


def training(num=101, hook=None, train_cfg=None, loader=None, **sampler):
    """A training of toy samples; ``sampler`` goes to the batch sampler."""
    # Serialized samples cost a garbage collection each time.
    dataset = dict(
        type="ToyDataset", num=num, pipeline=toys.PIPELINE, serialize_data=False
    )
    train_dataloader = toys.train_dataloader(dataset=dataset, **sampler)
    train_dataloader.update(loader or {})
    return ConfigDict(
        train_dataloader=train_dataloader,
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=5),
        custom_hooks=[hook] if hook else [],
        randomness=dict(seed=7),
    )


def plain(batch_size=4, pipeline=(), train_cfg=None, drop_last=False, **more):
    """A training of one size."""
    return ConfigDict(
        train_dataloader=dict(
            batch_size=batch_size,
            drop_last=drop_last,
            sampler=dict(type="DefaultSampler", shuffle=True),
            dataset=dict(type="ToyDataset", pipeline=list(pipeline)),
        ),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=2),
        **more,
    )


def batch_samplers(config, world_size, monkeypatch):
    """Those that every rank of a training builds, with their curriculum."""
    built = []
    for rank in range(world_size):
        monkeypatch.setattr(
            mmengine.dataset.sampler, "get_dist_info", lambda r=rank: (r, world_size)
        )
        loader = Runner.build_dataloader(config.train_dataloader, seed=7)
        for hook in config.custom_hooks:
            curriculum = HOOKS.build(hook).curriculum
            length = {
                key: value
                for key, value in config.train_cfg.items()
                if key.startswith("max_")
            }
            loader.batch_sampler.set_curriculum(curriculum, **length)
        built.append(loader.batch_sampler)
    return built


@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("round_up", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("hook", [None, CURRICULUM, dict(CURRICULUM, by_epoch=False)])
def test_is_what_every_rank_runs(world_size, round_up, drop_last, hook, monkeypatch):
    config = training(
        hook=hook,
        drop_last=drop_last,
        sampler=dict(type="DefaultSampler", shuffle=True, round_up=round_up),
    )
    planned = config_plan(config, num_samples=101, world_size=world_size)
    ranks = batch_samplers(config, world_size, monkeypatch)
    assert planned.by_epoch
    assert len(planned.epochs) == 5
    for epoch, counted in enumerate(planned.epochs):
        plans = [rank.plan(epoch) for rank in ranks]
        assert counted.iterations == len(plans[0])
        assert counted.batches == Counter(plans[0])
        images = Counter()
        for plan in plans:
            for height, width, batch_size in plan:
                images[height, width] += batch_size
        assert counted.images == images


@pytest.mark.parametrize("round_up", [True, False])
def test_our_sampler_counts_as_mmengines_does(round_up):
    plans = [
        config_plan(
            training(sampler=dict(type=kind, round_up=round_up)),
            num_samples=101,
            world_size=3,
        )
        for kind in ("DefaultSampler", "KeyedPermutationSampler")
    ]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("hook", [None, CURRICULUM])
def test_a_training_by_iterations(hook, monkeypatch):
    config = training(
        hook=hook,
        train_cfg=BY_ITERATION,
        sampler=dict(type="InfiniteSampler", shuffle=True),
    )
    planned = config_plan(config, world_size=2)
    (sampler, _) = batch_samplers(config, 2, monkeypatch)
    assert not planned.by_epoch
    assert planned.samples is None
    assert [epoch.iterations for epoch in planned.epochs] == [20, 20, 10]
    for start, counted in zip((0, 20, 40), planned.epochs):
        plan = sampler.plan_iterations(start, min(start + 20, 50))
        assert counted.batches == Counter(plan)
        assert sum(counted.images.values()) == 2 * sum(batch[2] for batch in plan)


def test_iterations_over_epochs_with_an_end(monkeypatch):
    config = training(hook=CURRICULUM, train_cfg=BY_ITERATION)
    planned = config_plan(config, num_samples=101)
    (sampler,) = batch_samplers(config, 1, monkeypatch)
    counted = sum((Counter(epoch.batches) for epoch in planned.epochs), Counter())
    assert counted == Counter(sampler.plan_iterations(0, 50))


def test_groups_by_aspect_ratio_without_the_ratios():
    config = training(group_by_aspect_ratio=True)
    planned = config_plan(config, num_samples=101)
    assert [sum(epoch.images.values()) for epoch in planned.epochs] == [101] * 5
    assert "orientation" in planned.assumptions[0]


def test_one_size_by_hand():
    config = plain(optim_wrapper=dict(accumulative_counts=4))
    planned = config_plan(config, 101, world_size=2, base_size=(6, 8))
    # 51 samples a rank: 12 batches of 4 and one of 3, twice; 26 iterations.
    assert planned.epochs[0] == planned.epochs[1]
    assert planned.epochs[0].batches == {(6, 8, 4): 12, (6, 8, 3): 1}
    assert planned.epochs[0].images == {(6, 8): 102}
    assert planned.iterations == 26
    assert planned.optimizer_updates == 7
    assert planned.assumptions == []
    planned = config_plan(plain(drop_last=True), 101, world_size=2, base_size=(6, 8))
    assert planned.epochs[0].batches == {(6, 8, 4): 12}
    planned = config_plan(config, 101, base_size=(6, 8), counted_as=(5, 8))
    assert planned.counted_as == {(6, 8): (5, 8)}


def test_one_size_by_iterations():
    config = plain(train_cfg=dict(BY_ITERATION, type="IterBasedTrainLoop"))
    planned = config_plan(config, 10, base_size=(6, 6))
    # Epochs of 4, 4 and 2 images, over and over: 50 iterations are 16 and two thirds.
    total = sum((Counter(epoch.batches) for epoch in planned.epochs), Counter())
    assert total == {(6, 6, 4): 34, (6, 6, 2): 16}


LOAD = dict(type="LoadImageFromFile")


@pytest.mark.parametrize(
    ("pipeline", "counted", "assumed"),
    [
        ([dict(type="mmpretrain.RandomResizedCrop", scale=224)], (224, 224), ""),
        ([dict(type="mmdet.Resize", scale=(96, 64), keep_ratio=False)], (64, 96), ""),
        (
            [
                dict(type="mmdet.Mosaic", img_scale=(640, 640)),
                dict(type="mmdet.RandomAffine", border=(-320, -320)),
            ],
            (640, 640),
            "",
        ),
        # 4:3 within 1333 x 800: 800 high, 1066.7 wide.
        (
            [dict(type="mmdet.Resize", scale=(1333, 800), keep_ratio=True)],
            (800, 1067),
            "keeps the ratio within 1333 x 800",
        ),
        (
            [
                dict(type="mmpretrain.ResizeEdge", scale=256, edge="short"),
                dict(type="mmpretrain.CenterCrop", crop_size=224),
            ],
            (224, 224),
            "",
        ),
        (
            [dict(type="mmpretrain.ResizeEdge", scale=240, edge="short")],
            (240, 320),
            "short edge only",
        ),
        (
            [dict(type="mmpretrain.ResizeEdge", scale=240, edge="long")],
            (180, 240),
            "long edge only",
        ),
        (
            [dict(type="mmdet.ResizeShortestEdge", scale=800, max_size=1333)],
            (800, 1067),
            "keeps the ratio within 1333 x 800",
        ),
        # Squares, as the transforms of mmpretrain give.
        ([dict(type="mmpretrain.EfficientNetRandomCrop", scale=224)], (224, 224), ""),
        (
            [dict(type="mmpretrain.EfficientNetCenterCrop", crop_size=224)],
            (224, 224),
            "",
        ),
        (
            [
                dict(type="mmpretrain.torchvision/Resize", size=[256]),
                dict(type="mmpretrain.torchvision/CenterCrop", size=[224]),
            ],
            (224, 224),
            "",
        ),
        (
            [dict(type="mmpretrain.torchvision/Resize", size=[240])],
            (240, 320),
            "short edge only",
        ),
        ([dict(type="mmpretrain.torchvision/Resize", size=[96, 64])], (96, 64), ""),
        # Colors change no size, wherever they are chosen.
        (
            [
                dict(type="mmpretrain.RandomResizedCrop", scale=224),
                dict(
                    type="RandomChoice",
                    transforms=[[dict(type="mmpretrain.ColorJitter")], []],
                ),
            ],
            (224, 224),
            "",
        ),
        (
            [
                dict(
                    type="RandomChoice",
                    transforms=[
                        [dict(type="mmpretrain.RandomResizedCrop", scale=224)],
                        dict(type="mmdet.Resize", scale=(224, 224), keep_ratio=False),
                    ],
                ),
            ],
            (224, 224),
            "",
        ),
        (
            [
                dict(
                    type="mmpretrain.MultiView",
                    num_views=2,
                    transforms=[[dict(type="mmpretrain.RandomResizedCrop", scale=96)]],
                )
            ],
            (96, 96),
            "",
        ),
        # YOLOX's padding to squares.
        (
            [
                dict(type="mmdet.Resize", scale=(64, 48), keep_ratio=True),
                dict(type="mmdet.Pad", pad_to_square=True),
            ],
            (64, 64),
            "",
        ),
        # Large-scale jitter, cropped to one size.
        (
            [
                dict(
                    type="mmdet.RandomResize",
                    scale=(64, 32),
                    ratio_range=(0.1, 2.0),
                    keep_ratio=True,
                ),
                dict(type="mmdet.RandomCrop", crop_size=(64, 32)),
            ],
            (32, 64),
            "",
        ),
    ],
)
def test_the_size_of_a_pipeline(pipeline, counted, assumed):
    pytest.importorskip("mmdet")
    pytest.importorskip("mmpretrain")
    planned = config_plan(plain(pipeline=[LOAD, *pipeline]), 8)
    # A batch has the size of the pipeline, within which an image may keep its ratio.
    size = (800, 1333) if "keeps the ratio" in assumed else counted
    assert planned.counted_as == {size: counted}
    assert set(planned.epochs[0].images) == {size}
    if assumed:
        assert assumed in planned.assumptions[0]
    else:
        assert planned.assumptions == []


@pytest.mark.parametrize(
    ("pipeline", "model", "message"),
    [
        ([], {}, "no transform of its pipeline sets one"),
        ([dict(type="OwnResize", scale=8)], {}, "OwnResize is not registered.*"),
        (
            [dict(type="mmdet.RandomChoiceResize", scales=[(8, 8), (9, 9)])],
            {},
            "RandomChoiceResize gives more than one",
        ),
        (
            [
                dict(
                    type="RandomApply",
                    transforms=[dict(type="mmdet.Resize", scale=(8, 8))],
                )
            ],
            {},
            "RandomApply gives more than one",
        ),
        (
            [dict(type="mmdet.ResizeShortestEdge", scale=[(8, 9)])],
            {},
            "ResizeShortestEdge gives more than one",
        ),
        (
            [
                dict(
                    type="mmpretrain.MultiView",
                    num_views=[2, 6],
                    transforms=[
                        [dict(type="mmpretrain.RandomResizedCrop", scale=side)]
                        for side in (224, 96)
                    ],
                )
            ],
            {},
            "MultiView gives more than one",
        ),
        (
            [dict(type="mmdet.Resize", scale=(8, 8))],
            dict(
                data_preprocessor=dict(
                    batch_augments=[dict(type="BatchSyncRandomResize")]
                )
            ),
            "BatchSyncRandomResize gives more than one",
        ),
    ],
)
def test_a_pipeline_without_one_size(pipeline, model, message):
    pytest.importorskip("mmdet")
    with pytest.raises(ValueError, match=f"{message}.* set base_size"):
        config_plan(plain(pipeline=pipeline, model=model), 8)


@pytest.mark.parametrize("other, alike", [(8, True), (16, False)])
def test_the_size_of_datasets_side_by_side(other, alike):
    pytest.importorskip("mmcv")
    config = plain()
    parts = [
        dict(
            type="ToyDataset",
            pipeline=[dict(type="mmcv.Resize", scale=(side, side), keep_ratio=False)],
        )
        for side in (8, other)
    ]
    config.train_dataloader.dataset = dict(type="ConcatDataset", datasets=parts)
    if alike:
        assert fixed_size(config) == ((8, 8), (8, 8))
    else:
        with pytest.raises(ValueError, match="ConcatDataset gives more than one"):
            fixed_size(config)


def test_sizes_that_keep_the_ratio():
    pytest.importorskip("mmdet")
    resize = dict(type="mmdet.Resize", keep_ratio=True)
    dataset = dict(
        type="MultiScaleDataset",
        dataset=dict(
            type="ToyDataset",
            pipeline=[dict(type="MultiScaleTransform", transform=resize)],
        ),
    )
    config = training(base_size=80, sizes=[40, [60, 80]], loader=dict(dataset=dataset))
    planned = config_plan(config, 50)
    assert planned.counted_as == {(40, 40): (30, 40), (60, 80): (60, 80)}
    assert "4:3" in planned.assumptions[0]


CROP = dict(type="mmdet.RandomCrop", crop_size=(384, 600))
EXACT = dict(type="MultiScaleTransform", transform=dict(type="mmdet.Resize"))
KEEPS = dict(
    type="MultiScaleTransform", transform=dict(type="mmdet.Resize", keep_ratio=True)
)
SHORTEST = dict(
    type="MultiScaleTransform",
    transform=dict(type="mmdet.ResizeShortestEdge"),
    size_arg=("scale", "max_size"),
    order="hw",
)


def choice(*branches):
    return dict(type="RandomChoice", transforms=list(branches))


@pytest.mark.parametrize(
    "pipeline, width",
    [
        ([KEEPS], 80),  # 4:3 with a height of 60
        ([SHORTEST], 80),
        ([choice([KEEPS], [CROP, KEEPS])], 80),  # DETR
        ([KEEPS, choice([dict(type="mmdet.PhotoMetricDistortion")], [])], 80),
        ([EXACT], 100),
        ([choice([KEEPS], [EXACT])], 100),
        ([KEEPS, EXACT], 100),
        ([EXACT, KEEPS, dict(type="mmdet.Pad", pad_to_square=True)], 100),  # YOLOX
    ],
)
def test_which_pipelines_keep_the_ratio(pipeline, width):
    dataset = dict(
        type="MultiScaleDataset", dataset=dict(type="ToyDataset", pipeline=pipeline)
    )
    config = training(base_size=[60, 100], sizes=[[60, 100]])
    config.train_dataloader.dataset = dataset
    assert counted_size(config, (60, 100)) == (60, width)
    assert config_plan(config, 8).counted_as == {(60, 100): (60, width)}


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


def with_own_batches():
    config = plain()
    config.train_dataloader.batch_sampler = dict(type="OwnBatches")
    return config


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        (dict(train_cfg=dict(max_epochs=1)), {}, "has no train_dataloader"),
        (dict(train_dataloader=dict(batch_size=1)), {}, "has no train_cfg"),
        (plain(train_cfg=dict(by_epoch=True)), {}, "max_epochs of at least 1"),
        (plain(train_cfg=dict(by_epoch=False)), {}, "max_iters of at least 1"),
        (plain(), dict(world_size=9), "8 samples for world_size=9"),
        (plain(), dict(num_samples=0), "num_samples=0"),
        (
            plain(16, drop_last=True),
            dict(base_size=(8, 8)),
            "leaves no batch of 16",
        ),
        (training(), dict(base_size=(8, 8)), "this one has it"),
        (
            training(sampler=dict(type="MultiSourceSampler")),
            {},
            "sampler must be one of.*MultiSourceSampler",
        ),
        (training(sampler=dict(type="InfiniteSampler")), {}, "has no end"),
        (
            with_own_batches(),
            {},
            "batch_sampler must be.*OwnBatches",
        ),
    ],
)
def test_what_cannot_be_planned(config, arguments, message):
    arguments = {"num_samples": 8, **arguments}
    with pytest.raises(ValueError, match=message):
        config_plan(config, **arguments)


def test_is_multi_scale():
    assert is_multi_scale(training())
    assert not is_multi_scale(plain())
    assert not is_multi_scale({})
