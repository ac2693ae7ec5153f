"""Photographs in class folders, decoded once and held in memory."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

Photograph = Tuple[str, int, np.ndarray]


@functools.lru_cache(maxsize=2)
def read_photographs(
    folder: Path,
) -> Tuple[Tuple[str, ...], Tuple[Photograph, ...]]:
    """Decode all photographs of one split.

    Args:
        folder: Folder of the split, with one folder of JPEG files per class.

    Returns:
        The names of the classes, sorted, and ``(path, class, image)`` of each
        photograph; images are ``(height, width, 3)`` uint8, BGR.

    Raises:
        ValueError: The folder has no photographs, or one does not decode.
    """
    import cv2

    classes = tuple(sorted(f.name for f in folder.iterdir() if f.is_dir()))
    found: List[Photograph] = []
    for number, name in enumerate(classes):
        for path in sorted((folder / name).glob("*.jpg")):
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                raise ValueError(f"{path} must be a JPEG file, but does not decode.")
            found.append((str(path), number, image))
    if not found:
        raise ValueError(
            f"folder must hold class folders of *.jpg files, but got {str(folder)!r}."
        )
    return classes, tuple(found)


@DATASETS.register_module()
class Photographs(BaseDataset):
    """Photographs as the transforms of mmpretrain take them, after loading.

    The datasets of one process share the decoded images.

    Args:
        folder: Folder of the split, with one folder of JPEG files per class.
        pipeline: Transforms, from the first after ``LoadImageFromFile`` on.
        test_mode: As in MMEngine. Defaults to False.
    """

    def __init__(
        self,
        folder: Union[str, Path],
        pipeline: Sequence[Any] = (),
        test_mode: bool = False,
    ) -> None:
        self.classes, self._photographs = read_photographs(Path(folder).resolve())
        super().__init__(
            metainfo=dict(classes=self.classes),
            serialize_data=False,
            pipeline=list(pipeline),
            test_mode=test_mode,
        )

    def load_data_list(self) -> List[Dict[str, Any]]:
        """Return the sizes and classes of the photographs."""
        return [
            dict(height=image.shape[0], width=image.shape[1], gt_label=label)
            for _, label, image in self._photographs
        ]

    def get_data_info(self, idx: int) -> Dict[str, Any]:
        """Return the sample of one photograph, before the pipeline."""
        idx = int(idx) % len(self)
        path, label, image = self._photographs[idx]
        return dict(
            img=image.copy(),
            img_path=path,
            img_shape=image.shape[:2],
            ori_shape=image.shape[:2],
            gt_label=label,
            sample_idx=idx,
        )
