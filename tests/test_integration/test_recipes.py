"""Configs of the libraries, converted: their pipelines' pixels, and short trainings."""

import copy

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner

from mms_plugin.multi_scale import sized_index_class
from mms_plugin.recipes import vbs_recipe

pytestmark = pytest.mark.timeout(300)

CLASSES = dict(classes=("disc", "square", "triangle", "star"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Twelve images to detect in, their longer side 96 pixels."""
    pytest.importorskip("mmdet")
    from tools.demo.scenes import SceneParameters, write_scenes

    root = tmp_path_factory.mktemp("scenes") / "data"
    parameters = SceneParameters(
        train_images=1,
        val_images=1,
        det_train_images=12,
        det_val_images=1,
        det_image_size=96,
    )
    write_scenes(root, parameters)
    return str(root / "detection")


def library_config(name):
    from mms_plugin import cli

    return cli.load_config(name)


def on_scenes(dataset, scenes):
    """The innermost data set of a config, told to read the scenes."""
    while "dataset" in dataset:
        dataset = dataset.dataset
    dataset.update(
        data_root=scenes,
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="train/"),
        metainfo=CLASSES,
    )


def built_dataset(config):
    """The converted training data; indices come with their sizes."""
    with DefaultScope.overwrite_default_scope(config.default_scope):
        return DATASETS.build(copy.deepcopy(config.train_dataloader.dataset))


def sized(index, size):
    return sized_index_class(size)(index)


class Watch(Hook):
    """Notes the shape of each batch, as the model gets it."""

    def __init__(self):
        self.shapes = []

    def before_train(self, runner):
        runner.model.data_preprocessor.register_forward_hook(
            lambda module, args, out: self.shapes.append(
                (tuple(out["inputs"].shape[-2:]), len(out["inputs"]))
            )
        )


def trained(config, **kwargs):
    runner = Runner.from_cfg(config)
    watch = Watch()
    runner.register_hook(watch)
    runner.train()
    return runner, watch.shapes


SHRINK = {
    "model.backbone.depth": 18,
    "model.backbone.base_channels": 8,
    "model.backbone.stem_channels": 8,
    "model.backbone.frozen_stages": -1,
    "model.backbone.norm_eval": False,
    "model.backbone.init_cfg": None,
    "model.neck.in_channels": [8, 16, 32, 64],
    "model.neck.out_channels": 16,
    "model.rpn_head.in_channels": 16,
    "model.rpn_head.feat_channels": 16,
    "model.roi_head.bbox_roi_extractor.out_channels": 16,
    "model.roi_head.mask_roi_extractor.out_channels": 16,
    "model.roi_head.bbox_head.in_channels": 16,
    "model.roi_head.bbox_head.fc_out_channels": 32,
    "model.roi_head.bbox_head.num_classes": 4,
    "model.roi_head.mask_head.num_convs": 1,
    "model.roi_head.mask_head.in_channels": 16,
    "model.roi_head.mask_head.conv_out_channels": 16,
    "model.roi_head.mask_head.num_classes": 4,
    "train_dataloader.num_workers": 0,
    "train_dataloader.persistent_workers": False,
    "train_cfg.max_epochs": 3,
    "val_cfg": None,
    "val_dataloader": None,
    "val_evaluator": None,
    "default_hooks.logger.interval": 100,
    "optim_wrapper.optimizer.lr": 0.001,
    "randomness": dict(seed=0),
    "log_level": "WARNING",
}


def test_mask_rcnn_trains_and_resumes(scenes, tmp_path):
    config = library_config("mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py")
    config.merge_from_dict({**SHRINK, "work_dir": str(tmp_path)})
    config.train_dataloader.dataset.pipeline[2].scale = (133, 80)
    on_scenes(config.train_dataloader.dataset, scenes)
    sizes = [(48, 80), (80, 133)]
    after = vbs_recipe(config, dict(end=0.3), sizes=sizes, start_sizes=sizes[:1])
    runner, shapes = trained(copy.deepcopy(after))
    sampler = runner.train_dataloader.batch_sampler
    assert sampler.base_size == (80, 133)
    # Two at the base size, floor(2 * 80 * 133 / (48 * 80)) = 5 at the small one.
    assert sampler.batch_sizes == (5, 2)
    plan = [batch for epoch in range(3) for batch in sampler.plan(epoch)]
    assert runner.iter == runner.max_iters == len(plan) == len(shapes)
    assert [images for _, images in shapes] == [images for *_, images in plan]
    assert {batch[:2] for batch in sampler.plan(0)} == {(48, 80)}
    assert {batch[:2] for batch in plan} == {(48, 80), (80, 133)}
    # The long side of a scene fills the bound or its short side does; padding to
    # multiples of 32 follows.
    for (height, width), (short, long, _) in zip((shape for shape, _ in shapes), plan):
        assert max(height, width) <= -(-long // 32) * 32
        assert min(height, width) <= -(-short // 32) * 32 < min(height, width) + 64

    resumed = copy.deepcopy(after)
    resumed.resume, resumed.load_from = True, str(tmp_path / "epoch_2.pth")
    resumed.experiment_name = "resumed"
    again, shapes_of_last = trained(resumed)
    assert again.iter == runner.iter
    assert shapes_of_last == shapes[-len(sampler.plan(2)) :]


def test_mosaic_of_yolox_at_the_batch_size(scenes):
    """At two sizes, and with mosaic, affine and mixing left out."""
    config = library_config("mmdet::yolox/yolox_s_8xb8-300e_coco.py")
    on_scenes(config.train_dataloader.dataset, scenes)
    after = vbs_recipe(config, sizes=[64, 96])
    hook = next(h for h in after.custom_hooks if h.type == "YOLOXModeSwitchHook")
    dataset = built_dataset(after)
    inner = dataset.dataset
    assert "MultiScaleMosaic" in inner.pipeline_types
    for side in (64, 96):
        sample = dataset[sized(0, (side, side))]
        assert tuple(sample["inputs"].shape[-2:]) == (side, side)
        boxes = sample["data_samples"].gt_instances.bboxes
        assert boxes.tensor.max() <= side
    dataset.update_skip_type_keys(hook.skip_type_keys)
    for side in (64, 96):
        # One scene, its longer side at the bound, padded to a square.
        sample = dataset[sized(3, (side, side))]
        assert tuple(sample["inputs"].shape[-2:]) == (side, side)
        own = inner.dataset.get_data_info(3)
        scale = side / max(own["height"], own["width"])
        factor = sample["data_samples"].scale_factor
        assert factor == pytest.approx((scale, scale), abs=0.02)


def test_large_scale_jitter_within_the_batch_size(scenes):
    config = library_config(
        "mmdet::mask_rcnn/mask-rcnn_r50_fpn_8xb8-amp-lsj-200e_coco.py"
    )
    on_scenes(config.train_dataloader.dataset, scenes)
    after = vbs_recipe(config, sizes=[64, 128])
    factors, dataset = [], built_dataset(after)
    for index in range(12):
        sample = dataset[sized(index, (64, 64))]
        height, width = sample["inputs"].shape[-2:]
        assert max(height, width) <= 64
        instances = sample["data_samples"].gt_instances
        assert len(instances.masks) == len(instances.bboxes)
        assert instances.masks.masks.shape[1:] == (height, width)
        # Scenes of 96 to a bound of 64, and from 0.1 to 2 times that.
        factors.append(sample["data_samples"].scale_factor[0] * 96 / 64)
    assert 0.05 < min(factors) < 0.9 and 1.1 < max(factors) < 2.05


def test_cifar_pictures_are_scaled_not_cut():
    pytest.importorskip("mmpretrain")
    from mmengine.dataset import Compose

    config = library_config("mmpretrain::resnet/resnet18_8xb16_cifar10.py")
    after = vbs_recipe(config)
    assert after.train_dataloader.batch_sampler.sizes == [24, 32, 40]
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:] = 200
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        pipeline = Compose(after.train_dataloader.dataset.dataset.pipeline)
        for side in (24, 40):
            results = dict(img=picture, gt_label=1, target_size=(side, side))
            image = pipeline(results)["inputs"].float()
            assert tuple(image.shape[-2:]) == (side, side)
            # The edge in the middle, shifted by 4 of 32 pixels at most.
            bright = (image[0, side // 2] > 100).float().mean().item()
            assert 0.35 < bright < 0.65


def test_resnet_trains(tmp_path):
    """mmpretrain's ResNet-50 config, shrunk, and its mixup, at three sizes."""
    mmcv = pytest.importorskip("mmcv")
    config = library_config("mmpretrain::resnet/resnet50_8xb32-mixup_in1k.py")
    rng = np.random.default_rng(0)
    for index in range(12):
        picture = rng.integers(0, 256, (70, 60 + index, 3), dtype=np.uint8)
        mmcv.imwrite(picture, str(tmp_path / f"data/class{index % 2}/{index}.jpg"))
    del config.train_dataloader.dataset["split"]
    config.merge_from_dict(
        {
            "model.backbone.depth": 18,
            "model.backbone.stem_channels": 8,
            "model.backbone.base_channels": 8,
            "model.head.in_channels": 64,
            "train_dataloader.batch_size": 4,
            "train_dataloader.num_workers": 0,
            "train_dataloader.collate_fn": dict(type="default_collate"),
            "train_dataloader.dataset": dict(
                type="CustomDataset",
                data_root=str(tmp_path / "data"),
            ),
            "val_cfg": None,
            "val_dataloader": None,
            "val_evaluator": None,
            "train_cfg.max_epochs": 4,
            "work_dir": str(tmp_path / "work"),
            "log_level": "WARNING",
            "randomness": dict(seed=1),
        }
    )
    after = vbs_recipe(config, sizes=[32, 64, 96], base_size=64)
    runner, shapes = trained(after)
    sampler = runner.train_dataloader.batch_sampler
    plan = [batch for epoch in range(4) for batch in sampler.plan(epoch)]
    assert shapes == [((height, width), images) for height, width, images in plan]
    # 4 * (64 / 32)^2 = 16, 4 and floor(4 * (64 / 96)^2) = 1.
    assert sampler.batch_sizes == (16, 4, 1)
    assert len({shape for shape, _ in shapes}) == 3
    assert sum(images for _, images in shapes) == 48


LAZY = """
from mmcv.transforms import LoadImageFromFile, Resize
from mmengine.dataset import DefaultSampler
from mmengine.hooks import EMAHook
from mmpretrain.datasets import CustomDataset, PackInputs, RandomResizedCrop
from mmpretrain.models import ImageClassifier

default_scope = "mmpretrain"
model = dict(type=ImageClassifier)
train_pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=RandomResizedCrop, scale=64),
    dict(type=Resize, scale=(72, 72)),
    dict(type=PackInputs)]
train_dataloader = dict(
    batch_size=4,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(type=CustomDataset, data_root="data", pipeline=train_pipeline))
custom_hooks = [dict(type=EMAHook)]
"""


def test_configs_of_classes(tmp_path):
    """New-style configs: classes, imported lazily; dumped, they are read again."""
    pytest.importorskip("mmpretrain")
    (tmp_path / "lazy.py").write_text(LAZY)
    config = Config.fromfile(tmp_path / "lazy.py")
    text = config.pretty_text
    after = vbs_recipe(config, True)
    assert config.pretty_text == text
    assert after.train_dataloader.batch_sampler.base_size == 72
    after.dump(tmp_path / "dumped.py")
    again = Config.fromfile(tmp_path / "dumped.py")
    assert again.custom_imports.imports == ["mms_plugin"]
    for each in (after, again):
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            from mmengine.registry import TRANSFORMS

            crop, resize = (
                TRANSFORMS.build(transform)
                for transform in each.train_dataloader.dataset.dataset.pipeline[1:3]
            )
            assert crop.at((36, 36)).scale == (32, 32)  # 64 of 72
            assert resize.at((36, 36)).scale == (36, 36)
