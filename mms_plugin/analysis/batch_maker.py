"""Batches without data, for counting what a real model's training costs."""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Optional, Set, Tuple, Union

import torch
from torch import nn

from ..utils.host_versions import require
from ..utils.input_channels import input_channels
from ..utils.padded_size import padded_size
from ..utils.validation import is_integer

__all__ = ["MakeBatch", "batch_maker", "libraries_of", "rois_per_image"]

MakeBatch = Callable[[int, int, int], Dict[str, Any]]
"""``(batch_size, height, width)`` to the arguments of a model's ``mode='loss'``."""

# In pixels: no proposal overlaps so small a box by half, so none becomes a positive.
_TINY_BOX = 1.0

# Self-supervised models of mmpretrain that compare two views of each image.
_TWO_VIEWS = frozenset(
    ["BarlowTwins", "BYOL", "DenseCL", "MoCo", "MoCoV3", "SimCLR", "SimSiam"],
)

# Objects of an image where their number costs nothing.
_OBJECTS = 4


def libraries_of(model: nn.Module) -> Set[str]:
    """Return the libraries that a model's class and its bases come from."""
    return {base.__module__.partition(".")[0] for base in type(model).__mro__}


def batch_maker(
    model: nn.Module,
    positive_rois: Optional[int] = None,
    device: Union[None, str, torch.device] = None,
) -> MakeBatch:
    """Return a function that makes batches without data for a model.

    The model is one of mmpretrain, mmdet or mmseg. The batches are what it gets from
    its data preprocessor: tensors on the model's device, padded to
    ``pad_size_divisor``, with labels, boxes and masks (RTMDet: no masks);
    self-supervised models that compare two views get two such tensors. So
    ``training_flops_per_image(model, batch_maker(model), sizes)`` counts the real
    model with its real losses.

    The RoI heads of a two-stage detector run on as many RoIs as the model's RoI
    sampler takes (``num``, if the RPN has that many to give), of which exactly
    ``positive_rois`` are positive: as many ground truth boxes, which the sampler adds
    to the proposals, each of one pixel, which no other proposal matches. Positives are
    what the mask head runs on; in a real training their number varies between images
    and grows as the RPN learns.

    Args:
        model: An mmpretrain classifier, an mmdet detector or an mmseg segmentor, built.
        positive_rois: Positive RoIs of each image. Defaults to as many as the sampler
            takes at most (``num * pos_fraction``), the most expensive training.
        device: Where the tensors are made. Defaults to the model's.

    Returns:
        ``make_batch(batch_size, height, width)`` gives ``dict(inputs=...,
        data_samples=...)``.

    Raises:
        ValueError: A model of another kind; ``positive_rois`` that the model cannot
            have.
    """
    libraries = libraries_of(model)
    if "mmdet" in libraries:
        return _detection_batches(model, positive_rois, device)
    if positive_rois is not None:
        raise ValueError(
            f"positive_rois={positive_rois!r} needs a detector with RoI heads, but got "
            f"{type(model).__name__}"
        )
    if "mmpretrain" in libraries:
        return _classification_batches(model, device)
    if "mmseg" in libraries:
        return _segmentation_batches(model, device)
    raise ValueError(
        "model must be a classifier of mmpretrain, a detector of mmdet or a segmentor "
        "of mmseg, but got "
        f"{type(model).__name__} of {type(model).__module__}: write make_batch("
        "batch_size, height, width) for it yourself"
    )


def rois_per_image(
    model: nn.Module, positive_rois: Optional[int] = None
) -> Optional[Tuple[int, int]]:
    """Return the RoIs, and the positive ones, that a detector trains on per image.

    Args:
        model: A detector of mmdet.
        positive_rois: As in :func:`batch_maker`.

    Returns:
        ``(num, positives)``, or ``None`` for a detector without RoI heads.

    Raises:
        ValueError: ``positive_rois`` that the model cannot have.
    """
    roi_head = getattr(model, "roi_head", None)
    sampler = getattr(roi_head, "bbox_sampler", None)
    if isinstance(sampler, (list, tuple)):  # Cascade R-CNN: one a stage
        sampler = sampler[0]
    if sampler is None or not hasattr(sampler, "num"):
        if positive_rois is not None:
            raise ValueError(
                f"positive_rois={positive_rois!r} needs a detector whose RoI head "
                f"samples RoIs, but got {type(model).__name__} with "
                + ("no RoI head" if roi_head is None else type(roi_head).__name__)
            )
        return None
    most = int(sampler.num * sampler.pos_fraction)
    if positive_rois is None:
        return sampler.num, most if sampler.add_gt_as_proposals else 0
    if not is_integer(positive_rois):
        raise ValueError(f"positive_rois must be an int, but got {positive_rois!r}")
    if not 0 <= positive_rois <= most:
        raise ValueError(
            f"positive_rois must lie between 0 and {most}, the most that "
            f"{type(sampler).__name__}(num={sampler.num}, pos_fraction="
            f"{sampler.pos_fraction}) takes, but got {positive_rois}"
        )
    if positive_rois and not sampler.add_gt_as_proposals:
        raise ValueError(
            f"positive_rois={positive_rois} needs add_gt_as_proposals=True in the RoI "
            "sampler, the way by which the positives are made"
        )
    return sampler.num, positive_rois


def _device(model: nn.Module, device: Union[None, str, torch.device]) -> torch.device:
    if device is not None:
        return torch.device(device)
    for parameter in model.parameters():
        return parameter.device
    return torch.device("cpu")


def _classification_batches(
    model: nn.Module, device: Union[None, str, torch.device]
) -> MakeBatch:
    structures = require("mmpretrain.structures", "batch_maker")
    preprocessor: Any = getattr(model, "data_preprocessor", None)
    # With batch augmentations (mixup), or where the config says so.
    one_hot = getattr(preprocessor, "to_onehot", False)
    channels = input_channels(model)
    two_views = any(base.__name__ in _TWO_VIEWS for base in type(model).__mro__)

    def make_batch(batch_size: int, height: int, width: int) -> Dict[str, Any]:
        place = _device(model, device)
        sample = structures.DataSample().set_gt_label(
            torch.zeros(1, dtype=torch.long, device=place)
        )
        if one_hot:
            sample.set_gt_score(torch.zeros(preprocessor.num_classes, device=place))
        images = torch.zeros(
            batch_size, channels, *padded_size(model, (height, width)), device=place
        )
        return dict(
            inputs=[images, images.clone()] if two_views else images,
            data_samples=[sample] * batch_size,
        )

    return make_batch


def _segmentation_batches(
    model: nn.Module, device: Union[None, str, torch.device]
) -> MakeBatch:
    mmseg_structures = require("mmseg.structures", "batch_maker")
    structures = require("mmengine.structures", "batch_maker")
    channels = input_channels(model)

    def make_batch(batch_size: int, height: int, width: int) -> Dict[str, Any]:
        place = _device(model, device)
        shape = padded_size(model, (height, width))
        labels = torch.zeros(1, *shape, dtype=torch.long, device=place)
        metainfo = dict(
            img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape
        )
        sample = mmseg_structures.SegDataSample(
            metainfo=metainfo, gt_sem_seg=structures.PixelData(data=labels)
        )
        if type(getattr(model, "decode_head", None)).__name__ == "PIDHead":
            sample.gt_edge_map = structures.PixelData(data=labels)
        return dict(
            inputs=torch.zeros(batch_size, channels, *shape, device=place),
            data_samples=[sample] * batch_size,
        )

    return make_batch


def _detection_batches(
    model: nn.Module,
    positive_rois: Optional[int],
    device: Union[None, str, torch.device],
) -> MakeBatch:
    mmdet_structures = require("mmdet.structures", "batch_maker")
    masks = require("mmdet.structures.mask", "batch_maker")
    instances = require("mmengine.structures", "batch_maker")
    dense = require("mmdet.models.dense_heads", "batch_maker")
    rois = rois_per_image(model, positive_rois)
    head = getattr(model, "bbox_head", None)
    # The assigner of RTMDet reads masks, if there are any, and as a tensor.
    no_masks = isinstance(head, dense.RTMDetHead) and not isinstance(
        head, dense.RTMDetInsHead
    )
    channels = input_channels(model)

    def sample(height: int, width: int, padded: Tuple[int, int]) -> Any:
        if rois is None:
            boxes = _boxes(_OBJECTS, height, width, min(height, width) / 4)
        else:
            boxes = _boxes(rois[1], height, width, _TINY_BOX)
        polygons = [
            [torch.tensor([x1, y1, x2, y1, x2, y2, x1, y2]).numpy()]
            for x1, y1, x2, y2 in boxes
        ]
        place = _device(model, device)
        truth = instances.InstanceData(
            bboxes=torch.tensor(boxes, device=place).reshape(-1, 4),
            labels=torch.zeros(len(boxes), dtype=torch.long, device=place),
        )
        if not no_masks:
            truth.masks = masks.PolygonMasks(polygons, *padded)
        ignored = instances.InstanceData(
            bboxes=torch.zeros(0, 4, device=place),
            labels=torch.zeros(0, dtype=torch.long, device=place),
        )
        made = mmdet_structures.DetDataSample(
            metainfo=dict(
                img_id=0,
                img_shape=(height, width),
                ori_shape=(height, width),
                pad_shape=padded,
                batch_input_shape=padded,
                scale_factor=(1.0, 1.0),
            ),
            gt_instances=truth,
            ignored_instances=ignored,
        )
        if getattr(model, "with_semantic_head", False):
            segments = torch.zeros(1, *padded, dtype=torch.long, device=place)
            made.gt_sem_seg = instances.PixelData(sem_seg=segments)
        return made

    def make_batch(batch_size: int, height: int, width: int) -> Dict[str, Any]:
        padded = padded_size(model, (height, width))
        # Noise, so that the RPN's proposals differ and enough outlive their NMS.
        place = _device(model, device)
        images = torch.empty(batch_size, channels, *padded, device=place)
        if place.type != "meta":
            noise = torch.Generator().manual_seed(0)
            images.copy_(torch.randn(images.shape, generator=noise))
        return dict(
            inputs=images,
            data_samples=[sample(height, width, padded) for _ in range(batch_size)],
        )

    return make_batch


def _boxes(count: int, height: int, width: int, side: float) -> List[List[float]]:
    """Return ``count`` square boxes ``(x1, y1, x2, y2)`` on a grid."""
    columns = max(1, math.ceil(math.sqrt(count)))
    boxes = []
    for number in range(count):
        row, column = divmod(number, columns)
        x = (column + 1) / (columns + 1) * width - side / 2
        y = (row + 1) / (columns + 1) * height - side / 2
        boxes.append([x, y, x + side, y + side])
    return boxes
