"""Average precision on drawn scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, Sequence


def validation(
    folder: Path,
    metrics: Sequence[str] = ("bbox",),
    batch_size: int = 64,
    transforms: Sequence[Any] = (),
) -> Dict[str, Any]:
    """Return the validation part of a runner's arguments.

    Args:
        folder: Folder that :func:`lab.scenes.draw` returned for the split ``'val'``.
        metrics: ``'bbox'``, ``'segm'`` or both. Defaults to ``('bbox',)``.
        batch_size: Images per batch. Defaults to 64.
        transforms: Transforms before ``PackDetInputs``. Defaults to none.

    Returns:
        dict: ``val_dataloader``, ``val_cfg`` and ``val_evaluator``. ``runner.val()``
        then returns ``'coco/bbox_mAP'`` and so on, between 0 and 1.
    """
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
        val_evaluator=dict(
            type="CocoMetric",
            metric=list(metrics),
            ann_file=str(folder / "instances.json"),
        ),
    )
