"""Tasks of the multi-scale benchmark: data, model, augmentation and schedule.

A task is the same for all of its arms. Sizes are always set exactly, as in the
published recipe, so that the plan of the sampler gives the shape of every batch.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

from .arms import SizeRange

ROOT = Path(__file__).resolve().parents[3]
MEAN = dict(mean=[128.0] * 3, std=[64.0] * 3)
DET_KEYS = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")


@dataclass(frozen=True)
class SizeTask:
    """A task of the benchmark.

    Attributes:
        name: Name in the results.
        data: Name of the data in the results.
        sides: Image sides.
        epochs: Epochs of the baseline.
        batch_size: Images of a batch at the base size.
        scope: Library that the config's short names belong to.
        metric: MMEngine's name of the metric.
        factor: The metric's value times this is percent.
        corruptions: Those of the robustness test.
        severity: How strong these are, 1 to 5; they are made for images of 224 pixels.
        data_folder: Folder below the data root; empty: drawn, no data needed.
        small: Whether this is a smoke test's task, with less data and model.
    """

    name: str
    data: str
    sides: SizeRange
    epochs: int
    batch_size: int
    scope: str
    metric: str
    factor: float
    corruptions: Tuple[str, ...]
    severity: int = 3
    data_folder: str = ""
    small: bool = False

    def check_data(self, data_root: Path) -> None:
        """Raise ``ValueError`` where the task's data is missing."""
        folder = data_root / self.data_folder
        if self.data_folder and not (folder / "train").is_dir():
            raise ValueError(
                f"--data-root must hold {self.data_folder}/train for the task "
                f"{self.name}, but got {str(data_root)!r}."
            )

    def num_images(self, data_root: Path, cache_dir: Path) -> int:
        """Return the number of training images."""
        from mmengine.registry import DATASETS, DefaultScope

        with DefaultScope.overwrite_default_scope(self.scope):
            dataset = self.dataset("train", [], data_root, cache_dir)
            return len(DATASETS.build(dataset))

    # What the library builds; every method returns a new config.

    def model(self) -> Dict[str, Any]:
        """Return the model's config."""
        raise NotImplementedError

    def dataset(
        self, split: str, pipeline: List[Any], data_root: Path, cache_dir: Path
    ) -> Dict[str, Any]:
        """Return the dataset's config."""
        raise NotImplementedError

    def train_pipeline(self, jitter: str = "") -> List[Dict[str, Any]]:
        """Return the transforms of training, with or without random resizing."""
        raise NotImplementedError

    def test_pipeline(self, size: int, corruption: str = "") -> List[Dict[str, Any]]:
        """Return the transforms of a test at a size, of corrupted images if named."""
        raise NotImplementedError

    def evaluator(self, data_root: Path, cache_dir: Path) -> List[Dict[str, Any]]:
        """Return the configs of the metrics."""
        raise NotImplementedError

    def optim_wrapper(self) -> Dict[str, Any]:
        """Return the config of the optimizer."""
        raise NotImplementedError

    @property
    def precision(self) -> str:
        """Type that the forward and backward passes of a training compute with."""
        name = self.optim_wrapper()["type"]
        return "bfloat16" if name == "BFloat16OptimWrapper" else "float32"

    @property
    def warmup_iters(self) -> int:
        """Iterations of linear warm-up."""
        return 3 if self.small else 100

    def param_scheduler(self, epochs: int, warmup: bool = True) -> List[Dict[str, Any]]:
        """Return a linear warm-up and a cosine to zero over all iterations."""
        cosine = dict(
            type="CosineAnnealingLR",
            T_max=epochs,
            begin=0,
            end=epochs,
            by_epoch=True,
            convert_to_iter_based=True,
        )
        linear = dict(
            type="LinearLR",
            start_factor=0.01,
            by_epoch=False,
            begin=0,
            end=self.warmup_iters,
        )
        return [linear, cosine] if warmup else [cosine]


def _sized(**transform: Any) -> Dict[str, Any]:
    return dict(type="MultiScaleTransform", transform=transform)


def _corrupt(corruption: str, severity: int) -> List[Dict[str, Any]]:
    if not corruption:
        return []
    return [dict(type="CommonCorruption", corruption=corruption, severity=severity)]


@dataclass(frozen=True)
class ScenesDetection(SizeTask):
    """A small Faster R-CNN on drawn scenes held in memory."""

    @property
    def counts(self) -> Dict[str, int]:
        """Images by split."""
        return dict(train=16, val=4) if self.small else dict(train=800, val=400)

    @property
    def scene_size(self) -> int:
        """Longer side in pixels that the scenes are drawn at: the largest trained."""
        return self.sides.wide

    def model(self) -> Dict[str, Any]:
        """Return the small Faster R-CNN, its batches not padded beyond 8 pixels."""
        from lab.models import detector

        model = copy.deepcopy(detector("faster-rcnn"))
        model["data_preprocessor"].update(**MEAN, pad_size_divisor=8)
        return model

    def _folder(self, split: str, cache_dir: Path) -> Path:
        from lab.scenes import draw

        return draw(cache_dir, "detection", split, self.counts[split], self.scene_size)

    def dataset(
        self, split: str, pipeline: List[Any], data_root: Path, cache_dir: Path
    ) -> Dict[str, Any]:
        """Return the drawn scenes of a split."""
        return dict(
            type="DrawnScenes",
            folder=str(self._folder(split, cache_dir)),
            task="detection",
            pipeline=pipeline,
            test_mode=split != "train",
        )

    def train_pipeline(self, jitter: str = "") -> List[Dict[str, Any]]:
        """Return resizing to exactly the size, or mmdet's large-scale jitter."""
        resize = [_sized(type="Resize", keep_ratio=False)]
        return [
            *(_jitter(self.sides, jitter) if jitter else resize),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ]

    def test_pipeline(self, size: int, corruption: str = "") -> List[Dict[str, Any]]:
        """Return resizing to exactly the size, corruptions before it."""
        return [
            *_corrupt(corruption, self.severity),
            dict(type="Resize", scale=(size, size), keep_ratio=False),
            dict(type="PackDetInputs", meta_keys=DET_KEYS),
        ]

    def evaluator(self, data_root: Path, cache_dir: Path) -> List[Dict[str, Any]]:
        """Return COCO's box AP."""
        instances = self._folder("val", cache_dir) / "instances.json"
        return [dict(type="CocoMetric", ann_file=str(instances), metric="bbox")]

    def optim_wrapper(self) -> Dict[str, Any]:
        """Return SGD with clipped gradients."""
        return dict(
            type="OptimWrapper",
            optimizer=dict(type="SGD", lr=0.02, momentum=0.9, weight_decay=1e-4),
            clip_grad=dict(max_norm=10.0, norm_type=2),
        )


def _jitter(sides: SizeRange, kind: str) -> List[Dict[str, Any]]:
    """Return mmdet's large-scale jitter over the range of the multi-scale arms.

    Images are resized at random, then cropped and padded to the size of the batch, as
    in its ``lsj-100e_coco-instance.py``: the cost of an image is that of its batch.
    ``'zoom'`` only enlarges and crops.
    """
    least = 1.0 if kind == "zoom" else sides.low / sides.base
    return [
        _sized(
            type="RandomResize",
            ratio_range=(least, sides.high / sides.base),
            keep_ratio=False,
        ),
        _sized(
            type="RandomCrop",
            crop_type="absolute",
            recompute_bbox=True,
            allow_negative_crop=True,
        ),
        dict(type="FilterAnnotations", min_gt_bbox_wh=(1.0, 1.0), keep_empty=False),
        _sized(type="Pad", pad_val=dict(img=(128, 128, 128))),
    ]


@dataclass(frozen=True)
class NucleiDetection(SizeTask):
    """A small Mask R-CNN on microscope images, three times as long as the configs."""

    def _config(self) -> Any:
        from mmengine.config import Config

        name = "configs/mask_rcnn/mask-rcnn-r18_fbs_1xb8-16e_nuclei.py"
        return Config.fromfile(str(ROOT / name))

    def model(self) -> Dict[str, Any]:
        """Return the configs' small Mask R-CNN."""
        model: Dict[str, Any] = self._config().model.to_dict()
        model["data_preprocessor"].update(pad_size_divisor=32)
        return model

    def dataset(
        self, split: str, pipeline: List[Any], data_root: Path, cache_dir: Path
    ) -> Dict[str, Any]:
        """Return the images of a split as COCO's format has them."""
        return dict(
            type="CocoDataset",
            data_root=str(data_root / self.data_folder) + "/",
            metainfo=dict(classes=("nucleus",)),
            ann_file=f"annotations/instances_{split}.json",
            data_prefix=dict(img=f"{split}/"),
            filter_cfg=dict(filter_empty_gt=True) if split == "train" else None,
            test_mode=split != "train",
            pipeline=pipeline,
        )

    def train_pipeline(self, jitter: str = "") -> List[Dict[str, Any]]:
        """Return resizing to exactly the size, or mmdet's large-scale jitter."""
        resize = [_sized(type="Resize", keep_ratio=False)]
        return [
            dict(type="LoadImageFromFile"),
            dict(
                type="LoadAnnotations", with_bbox=True, with_mask=True, poly2mask=False
            ),
            *(_jitter(self.sides, jitter) if jitter else resize),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ]

    def test_pipeline(self, size: int, corruption: str = "") -> List[Dict[str, Any]]:
        """Return resizing to exactly the size, corruptions before it."""
        return [
            dict(type="LoadImageFromFile"),
            *_corrupt(corruption, self.severity),
            dict(type="Resize", scale=(size, size), keep_ratio=False),
            dict(type="PackDetInputs", meta_keys=DET_KEYS),
        ]

    def evaluator(self, data_root: Path, cache_dir: Path) -> List[Dict[str, Any]]:
        """Return COCO's box and mask AP."""
        annotations = data_root / self.data_folder / "annotations"
        return [
            dict(
                type="CocoMetric",
                ann_file=str(annotations / "instances_val.json"),
                metric=["bbox", "segm"],
            )
        ]

    def optim_wrapper(self) -> Dict[str, Any]:
        """Return the configs' AdamW."""
        return dict(self._config().optim_wrapper.to_dict())


@dataclass(frozen=True)
class PhotoClassification(SizeTask):
    """ResNet-18 on photographs, or a small Swin Transformer."""

    swin: bool = False

    def num_classes(self) -> int:
        """Return the number of classes."""
        return 12 if self.small else 20

    def model(self) -> Dict[str, Any]:
        """Return the classifier's config; a narrow one in a smoke test."""
        backbone = dict(type="ResNet", depth=18)
        width = 512
        if self.swin:
            # Windows of 4 fit feature maps of 28, 14 and 7 pixels.
            backbone = dict(
                type="SwinTransformer",
                arch=dict(embed_dims=48, depths=[2, 2, 4, 2], num_heads=[2, 4, 8, 16]),
                img_size=self.sides.base,
                window_size=4,
                pad_small_map=True,
                drop_path_rate=0.1,
            )
            width = 384
        elif self.small:
            backbone.update(stem_channels=8, base_channels=8)
            width = 64
        return dict(
            type="ImageClassifier",
            backbone=backbone,
            neck=dict(type="GlobalAveragePooling"),
            head=dict(
                type="LinearClsHead",
                num_classes=self.num_classes(),
                in_channels=width,
                loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
                topk=(1,),
            ),
            data_preprocessor=dict(
                type="ClsDataPreprocessor",
                num_classes=self.num_classes(),
                to_rgb=True,
                **MEAN,
            ),
        )

    def dataset(
        self, split: str, pipeline: List[Any], data_root: Path, cache_dir: Path
    ) -> Dict[str, Any]:
        """Return the photographs of a split."""
        return dict(
            type="Photographs",
            folder=str(data_root / self.data_folder / split),
            pipeline=pipeline,
            test_mode=split != "train",
        )

    def train_pipeline(self, jitter: str = "") -> List[Dict[str, Any]]:
        """Return random crops of at least half the image, or mmpretrain's usual 8 %."""
        least = 0.08 if jitter == "full" else 0.5
        return [
            _sized(type="RandomResizedCrop", crop_ratio_range=(least, 1.0)),
            dict(type="RandomFlip", prob=0.5, direction="horizontal"),
            dict(type="PackInputs"),
        ]

    def test_pipeline(self, size: int, corruption: str = "") -> List[Dict[str, Any]]:
        """Return the central crop, corrupted at the size that the network sees."""
        return [
            dict(type="ResizeEdge", scale=round(size * 8 / 7), edge="short"),
            dict(type="CenterCrop", crop_size=size),
            *_corrupt(corruption, self.severity),
            dict(type="PackInputs"),
        ]

    def evaluator(self, data_root: Path, cache_dir: Path) -> List[Dict[str, Any]]:
        """Return top-1 accuracy and calibration."""
        return [dict(type="Accuracy", topk=(1,)), dict(type="CalibrationError")]

    def optim_wrapper(self) -> Dict[str, Any]:
        """Return SGD for the ResNet, AdamW for the Swin Transformer.

        Under autocast in bfloat16, which halves the time on a CPU that has it; a smoke
        test's images are too small for that, see ``BFloat16OptimWrapper``.
        """
        kind = "OptimWrapper" if self.small else "BFloat16OptimWrapper"
        if self.swin:
            return dict(
                type=kind,
                optimizer=dict(type="AdamW", lr=5e-4, weight_decay=0.05),
                clip_grad=dict(max_norm=5.0),
            )
        return dict(
            type=kind,
            optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4),
        )


FOUR_CORRUPTIONS = ("gaussian_noise", "defocus_blur", "fog", "jpeg_compression")


def tasks(small: bool = False) -> Dict[str, SizeTask]:
    """Return the tasks by name, in the order of their value.

    Args:
        small: Whether they are a smoke test's: narrow models, a few made images, two
            epochs. Defaults to False.
    """
    from mms_plugin.evaluation import CORRUPTIONS

    detection: Dict[str, Any] = dict(
        scope="mmdet", metric="coco/bbox_mAP", factor=100.0
    )
    classification: Dict[str, Any] = dict(
        scope="mmpretrain", metric="accuracy/top1", factor=1.0
    )
    if small:
        listed: List[SizeTask] = [
            ScenesDetection(
                "detection",
                "scenes",
                SizeRange(base=64, step=16, low=48, high=80, wide=96),
                epochs=2,
                batch_size=8,
                corruptions=("fog",),
                small=True,
                **detection,
            ),
            PhotoClassification(
                "classification",
                "classification",
                SizeRange(base=32, step=8, low=16, high=40, wide=48),
                epochs=2,
                batch_size=8,
                corruptions=("fog",),
                data_folder="classification",
                small=True,
                **classification,
            ),
        ]
        return {task.name: task for task in listed}
    photographs = SizeRange(base=112, step=16, low=64, high=144, wide=160)
    listed = [
        ScenesDetection(
            "detection",
            "scenes",
            SizeRange(base=64, step=8, low=40, high=80, wide=96, image_cost=2900.0),
            epochs=60,
            batch_size=16,
            corruptions=FOUR_CORRUPTIONS,
            severity=1,
            **detection,
        ),
        PhotoClassification(
            "classification",
            "caltech20",
            photographs,
            epochs=40,
            batch_size=32,
            corruptions=CORRUPTIONS,
            data_folder="caltech20",
            **classification,
        ),
        NucleiDetection(
            "nuclei",
            "nuclei",
            SizeRange(
                base=256, step=32, low=160, high=320, wide=384, image_cost=17900.0
            ),
            epochs=48,
            batch_size=8,
            corruptions=FOUR_CORRUPTIONS,
            data_folder="nuclei",
            **detection,
        ),
        PhotoClassification(
            "classification-swin",
            "caltech20",
            photographs,
            epochs=100,
            batch_size=32,
            corruptions=CORRUPTIONS,
            data_folder="caltech20",
            swin=True,
            **classification,
        ),
    ]
    return {task.name: task for task in listed}
