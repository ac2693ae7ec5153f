"""Average precision on drawn scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence

from . import panoptic  # noqa: F401  registers its metric


def validation(
    folder: Path,
    metrics: Sequence[str] = ("bbox",),
    batch_size: int = 64,
    transforms: Sequence[Any] = (),
) -> Dict[str, Any]:
    """Return the validation part of a runner's arguments.

    Args:
        folder: Folder that :func:`lab.scenes.draw` returned for the split ``'val'``.
        metrics: ``'bbox'``, ``'segm'`` or both, or ``'panoptic'`` by itself. Defaults
            to ``('bbox',)``.
        batch_size: Images per batch. Defaults to 64.
        transforms: Transforms before ``PackDetInputs``. Defaults to none.

    Returns:
        dict: ``val_dataloader``, ``val_cfg`` and ``val_evaluator``. ``runner.val()``
        then returns ``'coco/bbox_mAP'`` and so on, or ``'scenes/PQ'``, between 0 and 1.
    """
    evaluator: Dict[str, Any] = dict(
        type="CocoMetric",
        metric=list(metrics),
        ann_file=str(folder / "instances.json"),
    )
    if tuple(metrics) == ("panoptic",):
        evaluator = dict(type="ScenesPanopticQuality", folder=str(folder))
    return dict(
        val_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(
                type="DrawnScenes",
                folder=str(folder),
                test_mode=True,
                pipeline=[*transforms, dict(type="PackDetInputs")],
            ),
        ),
        val_cfg=dict(),
        val_evaluator=evaluator,
    )
