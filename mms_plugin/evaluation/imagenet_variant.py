"""Test sets with ImageNet-1k's classes, or some of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

__all__ = ["ImageNetVariant", "class_of_folder", "imagenet_wnids"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff")
CLASSES = 1000


def imagenet_wnids() -> Tuple[str, ...]:
    """Return WordNet ids of ImageNet-1k's classes, by label 0 to 999: sorted."""
    path = Path(__file__).with_name("imagenet_wnids.txt")
    return tuple(path.read_text(encoding="ascii").split())


def class_of_folder(name: str, labels: Dict[str, int]) -> int:
    """Return ImageNet-1k's label of a class folder.

    Args:
        name: A WordNet id (``'n01440764'``), as in ImageNet-R, -A and -Sketch, or
            the label itself (``'0'`` to ``'999'``), as in ImageNet-V2.
        labels: Label by WordNet id.

    Raises:
        ValueError: It is neither.
    """
    if name in labels:
        return labels[name]
    if name.isdecimal() and int(name) < CLASSES:
        return int(name)
    raise ValueError(
        f"{name!r} is no class of ImageNet-1k: neither one of its WordNet ids, such as "
        "n01440764, nor a label from 0 to 999"
    )


@DATASETS.register_module()
class ImageNetVariant(BaseDataset):
    """Load images in class folders with the 1,000 labels of ImageNet-1k.

    ``data_root/<class>/<image>``, a class being named by its WordNet id (ImageNet-R,
    ImageNet-A, ImageNet-Sketch) or by its label (ImageNet-V2). The labels are always
    those of ImageNet-1k, whichever folders exist; mmpretrain's ``CustomDataset`` would
    number the folders in their order.

    ``metainfo['class_indices']`` are the labels that occur, sorted: what
    :class:`~mms_plugin.evaluation.ClassSubset` evaluates among.

    Args:
        data_root: The folder of class folders.
        num_classes: How many class folders there must be, so that a half-unpacked
            dataset is noticed. Defaults to None, any number.
        pipeline: Configs of transforms; they see ``img_path`` and ``gt_label``.
            Defaults to none.
        **kwargs: See :class:`mmengine.dataset.BaseDataset`.

    Raises:
        ValueError: A folder is no class of ImageNet-1k, two folders are the same
            class, their number is not ``num_classes``, or one holds no image.
        FileNotFoundError: There is no such folder.
    """

    def __init__(
        self,
        data_root: str,
        num_classes: Optional[int] = None,
        pipeline: Sequence[Any] = (),
        **kwargs: Any,
    ) -> None:
        self.num_classes = num_classes
        super().__init__(data_root=str(data_root), pipeline=list(pipeline), **kwargs)

    def load_data_list(self) -> List[Dict[str, Any]]:
        """List every image with its label, by label and file name."""
        root = Path(self.data_root)
        if not root.is_dir():
            raise FileNotFoundError(f"data_root={self.data_root} is not a folder")
        labels = {wnid: label for label, wnid in enumerate(imagenet_wnids())}
        folders: Dict[int, Path] = {}
        for folder in sorted(root.iterdir()):
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            try:
                label = class_of_folder(folder.name, labels)
            except ValueError as error:
                raise ValueError(f"data_root={self.data_root}: {error}") from None
            if label in folders:
                raise ValueError(
                    f"data_root={self.data_root}: {folders[label].name} and "
                    f"{folder.name} are the same class, {label}"
                )
            folders[label] = folder
        if self.num_classes is not None and len(folders) != self.num_classes:
            raise ValueError(
                f"data_root={self.data_root} must hold {self.num_classes} class "
                f"folders, but holds {len(folders)}"
            )
        samples: List[Dict[str, Any]] = []
        for label in sorted(folders):
            images = sorted(
                path
                for path in folders[label].iterdir()
                if path.suffix.lower() in EXTENSIONS
            )
            if not images:
                raise ValueError(f"{folders[label]} holds no image")
            samples += [dict(img_path=str(path), gt_label=label) for path in images]
        if not samples:
            raise ValueError(f"data_root={self.data_root} holds no class folder")
        self._metainfo["class_indices"] = tuple(sorted(folders))
        return samples
