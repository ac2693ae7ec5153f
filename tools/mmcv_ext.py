"""Stand in for ``mmcv._ext`` where no C++ compiler is found: NMS and RoIAlign.

``tools/setup_env.sh`` and ``tools/misc/matrix.py`` copy this file beside mmcv-lite as
``mmcv/_ext.py``. The two operators are torchvision's, which give what mmcv's own give,
and are enough to train and test Faster R-CNN and Mask R-CNN. Every other operator is
there by name and raises an error when it is called.
"""

from __future__ import annotations

from typing import Any, Callable, NoReturn

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)


def nms(
    boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float, offset: int
) -> torch.Tensor:
    """Return the indices of the kept boxes, highest score first."""
    if offset:
        # mmcv counts the last pixel in: a box from 0 to 9 is 10 wide.
        boxes = boxes + boxes.new_tensor([0.0, 0.0, offset, offset])
    # mmcv compares in single precision, torchvision with the threshold as given.
    threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    return torch.ops.torchvision.nms(boxes, scores, threshold)


def _check_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' needs mmcv with its compiled operators; "
            "install a C++ compiler, remove .venv and run make env"
        )


def roi_align_forward(
    input: torch.Tensor,
    rois: torch.Tensor,
    output: torch.Tensor,
    argmax_y: torch.Tensor,
    argmax_x: torch.Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the pooled features into ``output``."""
    _check_average(pool_mode)
    output.copy_(
        torch.ops.torchvision.roi_align(
            input,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )  # fmt: skip
    )


def roi_align_backward(
    grad_output: torch.Tensor,
    rois: torch.Tensor,
    argmax_y: torch.Tensor,
    argmax_x: torch.Tensor,
    grad_input: torch.Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the features into ``grad_input``."""
    _check_average(pool_mode)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )  # fmt: skip
    )


def __getattr__(name: str) -> Callable[..., NoReturn]:
    # mmcv looks up every operator when it is imported; Python's own names stay absent.
    if name.startswith("__"):
        raise AttributeError(name)

    def missing(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(
            f"the operator {name} needs mmcv with its compiled operators; install a "
            "C++ compiler, remove .venv and run make env"
        )

    return missing
