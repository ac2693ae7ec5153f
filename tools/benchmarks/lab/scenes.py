"""Drawn scenes held in memory as a dataset of MMEngine."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from tools.demo.scenes import (
    CLASSES,
    SHAPES,
    VERSION,
    Scene,
    classification_scene,
    detection_scene,
    encode_rle,
)

TASKS = ("detection", "classification")


def draw(
    cache_dir: Union[str, Path],
    task: str,
    split: str,
    num_images: int,
    image_size: int,
    seed: int = 0,
) -> Path:
    """Draw the scenes of one split, unless the cache holds them already.

    Two processes that ask for the same scenes draw them once.

    Args:
        cache_dir: Folder of all drawn sets.
        task: ``'detection'`` or ``'classification'``.
        split: ``'train'`` or ``'val'``.
        num_images: Number of images.
        image_size: Longer side of the images in pixels.
        seed: Seed of the scenes. Defaults to 0.

    Returns:
        Path: Folder of the set: ``images.npy`` (images padded with zeros to squares),
        ``maps.npy`` (number of the object that each pixel shows, 0 for none; only for
        detection), ``objects.npz``, and ``instances.json`` as COCO has it.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, but got {task!r}.")
    name = f"{task}_{split}_{num_images}x{image_size}_seed{seed}_v{VERSION}"
    folder = Path(cache_dir).resolve() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        partial = folder.with_name(f".{name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        draw_one = detection_scene if task == "detection" else classification_scene
        scenes = (draw_one(seed, split, i, image_size) for i in range(num_images))
        _write(partial, scenes, task, num_images, image_size)
        os.rename(partial, folder)
    return folder


def _write(folder: Path, scenes: Any, task: str, count: int, side: int) -> None:
    images = np.zeros((count, side, side, 3), np.uint8)
    maps = np.zeros((count, side, side), np.uint8)
    shapes: List[Sequence[int]] = []
    boxes: List[Sequence[int]] = []
    labels: List[int] = []
    offsets = [0]
    coco: List[Dict[str, Any]] = []
    for index, scene in enumerate(scenes):
        height, width = scene.image.shape[:2]
        images[index, :height, :width] = scene.image
        shapes.append((height, width))
        if task == "classification":
            labels.append(CLASSES.index(scene.objects[0].class_name))
            continue
        for number, item in enumerate(scene.objects):
            maps[index, :height, :width][item.mask] = number + 1
            x, y, w, h = item.bbox
            boxes.append((x, y, x + w, y + h))
            labels.append(SHAPES.index(item.shape))
        offsets.append(len(labels))
        coco += _annotations(scene, index, len(coco) + 1)
    np.save(folder / "images.npy", images)
    np.savez(
        folder / "objects.npz",
        shapes=np.array(shapes, np.int64),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        offsets=np.array(offsets, np.int64),
    )
    if task == "detection":
        np.save(folder / "maps.npy", maps)
        content = dict(
            info={},
            images=[dict(id=i, height=h, width=w) for i, (h, w) in enumerate(shapes)],
            annotations=coco,
            categories=[dict(id=n, name=name) for n, name in enumerate(SHAPES)],
        )
        (folder / "instances.json").write_text(json.dumps(content))


def _annotations(scene: Scene, image_id: int, first_id: int) -> List[Dict[str, Any]]:
    return [
        dict(
            id=first_id + number,
            image_id=image_id,
            category_id=SHAPES.index(item.shape),
            bbox=list(item.bbox),
            area=item.area,
            segmentation=encode_rle(item.mask),
            iscrowd=0,
        )
        for number, item in enumerate(scene.objects)
    ]


@DATASETS.register_module()
class DrawnScenes(BaseDataset):
    """Drawn scenes as the transforms of mmdet and mmpretrain take them.

    Samples look as after ``LoadImageFromFile`` and ``LoadAnnotations``. The arrays are
    mapped into memory, so that processes on one machine share them.

    Args:
        folder: Folder that :func:`draw` returned.
        task: ``'detection'`` or ``'classification'``.
        pipeline: Transforms. Defaults to none.
        with_mask: Whether detection samples hold ``gt_masks``. Defaults to False.
        with_seg: Whether detection samples hold ``gt_seg_map``: the category of each
            pixel, the background behind all categories. Defaults to False.
    """

    def __init__(
        self,
        folder: Union[str, Path],
        task: str = "detection",
        pipeline: Sequence[Any] = (),
        with_mask: bool = False,
        with_seg: bool = False,
        test_mode: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.task = task
        self.with_mask = with_mask
        self.with_seg = with_seg
        classes = SHAPES if task == "detection" else CLASSES
        super().__init__(
            metainfo=dict(classes=classes),
            serialize_data=False,
            pipeline=list(pipeline),
            test_mode=test_mode,
        )

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Map the arrays into memory and return the sizes of the images."""
        self._images = np.load(self.folder / "images.npy", mmap_mode="r")
        self._maps: Optional[np.ndarray] = None
        if self.task == "detection":
            self._maps = np.load(self.folder / "maps.npy", mmap_mode="r")
        with np.load(self.folder / "objects.npz") as arrays:
            self._boxes, self._labels = arrays["boxes"], arrays["labels"]
            self._offsets = arrays["offsets"]
            shapes = arrays["shapes"]
        return [dict(height=int(h), width=int(w)) for h, w in shapes]

    def get_data_info(self, idx: int) -> Dict[str, Any]:
        """Return the sample of one image, before the pipeline."""
        idx = int(idx) % len(self)
        height = self.data_list[idx]["height"]
        width = self.data_list[idx]["width"]
        results: Dict[str, Any] = dict(
            img=np.array(self._images[idx, :height, :width]),
            img_id=idx,
            img_path=f"{self.folder.name}/{idx}",
            img_shape=(height, width),
            ori_shape=(height, width),
            scale_factor=(1.0, 1.0),
            height=height,
            width=width,
            sample_idx=idx,
        )
        if self.task == "classification":
            results["gt_label"] = int(self._labels[idx])
            return results
        self._add_objects(results, idx)
        return results

    def _add_objects(self, results: Dict[str, Any], idx: int) -> None:
        import torch
        from mmdet.structures.bbox import HorizontalBoxes
        from mmdet.structures.mask import BitmapMasks

        assert self._maps is not None
        part = slice(self._offsets[idx], self._offsets[idx + 1])
        height, width = results["img_shape"]
        results["gt_bboxes"] = HorizontalBoxes(torch.from_numpy(self._boxes[part]))
        results["gt_bboxes_labels"] = self._labels[part].copy()
        results["gt_ignore_flags"] = np.zeros(len(self._labels[part]), bool)
        shown = self._maps[idx, :height, :width]
        if self.with_mask:
            masks = shown == np.arange(1, len(self._labels[part]) + 1)[:, None, None]
            results["gt_masks"] = BitmapMasks(masks.astype(np.uint8), height, width)
        if self.with_seg:
            category = np.array([len(SHAPES), *self._labels[part]], np.uint8)
            results["gt_seg_map"] = category[shown]
