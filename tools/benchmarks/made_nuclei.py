"""Made microscope images, laid out as the nuclei data of the benchmarks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List

import cv2
import numpy as np

__all__ = ["write_nuclei"]


def write_nuclei(
    root: Path, train: int = 16, val: int = 2, side: int = 96, name: str = "nucleus"
) -> Path:
    """Draw gray images with bright ellipses, and their COCO annotations.

    Args:
        root: Folder that gets ``train/``, ``val/`` and
            ``annotations/instances_{train,val}.json``.
        train: Number of training images. Defaults to 16.
        val: Number of validation images. Defaults to 2.
        side: Longer side in pixels; every second image is landscape. Defaults to 96.
        name: Name of the one category. Defaults to ``'nucleus'``.

    Returns:
        Path: ``root``.
    """
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    for split, count in (("train", train), ("val", val)):
        (root / split).mkdir()
        images: List[Dict[str, Any]] = []
        annotations: List[Dict[str, Any]] = []
        for index in range(count):
            height, width = (side, side) if index % 2 else (3 * side // 4, side)
            file = f"{index}.png"
            picture = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
            for _ in range(4):
                center = rng.integers(14, height - 14), rng.integers(14, width - 14)
                axes = tuple(map(int, rng.integers(6, 13, 2)))
                outline = cv2.ellipse2Poly(
                    (int(center[1]), int(center[0])), axes, 0, 0, 360, 20
                )
                cv2.fillPoly(picture, [outline], (200, 180, 220))
                x, y, w, h = cv2.boundingRect(outline)
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=index,
                        category_id=1,
                        iscrowd=0,
                        area=float(cv2.contourArea(outline)),
                        bbox=[x, y, w, h],
                        segmentation=[np.ravel(outline).tolist()],
                    )
                )
            cv2.imwrite(str(root / split / file), picture)
            images.append(dict(id=index, file_name=file, width=width, height=height))
        content = dict(
            images=images,
            annotations=annotations,
            categories=[dict(id=1, name=name)],
        )
        path = root / "annotations" / f"instances_{split}.json"
        path.write_text(json.dumps(content))
    return root
