"""Lines that tell the user what the sizes of a multi-scale training mean."""

from __future__ import annotations

from typing import Any, Mapping, Sequence, Tuple

from ..multi_scale.growing_sizes import GrowingSizes
from ..multi_scale.sizes import Size, size_text
from .annotations import annotated_boxes, keeps_ratio, lost_shares
from .config_edits import Report
from .default_sizes import scaled_to_side
from .train_loader import LOADER

__all__ = ["report_batches", "report_losses", "report_squares"]


def report_batches(schedule: GrowingSizes, report: Report) -> None:
    """Report the images of a batch by size, and batches of more pixels than usual."""
    batches = [
        f"{size_text(size)}: {images}"
        for size, images in zip(schedule.sizes, schedule.batch_sizes)
    ]
    report(
        f"images per rank and batch ({LOADER}.batch_size={schedule.batch_size} "
        f"at the base size): {', '.join(batches)}"
    )
    base = schedule.base_size
    budget = schedule.batch_size * base[0] * base[1]
    single = [
        size[0] * size[1] / budget
        for size, images in zip(schedule.sizes, schedule.batch_sizes)
        if images == 1
    ]
    if max(single, default=0.0) > 1:
        report(
            f"note: batches of one image reach {max(single):.2f} times the pixels of a "
            "batch at the base size, and need about that many times the memory"
        )


def report_squares(base: Size, sizes: Sequence[Size], report: Report) -> None:
    """Warn if all sizes are square although the base size is not."""
    if base[0] == base[1] or any(height != width for height, width in sizes):
        return
    alike = ", ".join(str(scaled_to_side(base, size[0])) for size in sizes)
    report(
        f"warning: sizes: all are square, but the base size is {size_text(base)}; with "
        f"its proportions they are sizes=[{alike}]"
    )


def report_losses(
    config: Any,
    dataset: Mapping,
    rewritten: Sequence[Tuple[Any, Any]],
    schedule: GrowingSizes,
    report: Report,
) -> None:
    """Report the share of the annotated boxes that the smallest size loses."""
    ratios = {keeps_ratio(new) for old, new in rewritten}
    if len(ratios) != 1 or None in ratios:
        return
    found = annotated_boxes(dataset, config.get("default_scope"))
    if found is None:
        return
    keep_ratio = bool(ratios.pop())
    lost = {size: lost_shares(found, size, keep_ratio) for size in schedule.sizes}
    size = min(schedule.sizes, key=lambda size: size[0] * size[1])
    if lost[size].boxes == 0:
        return
    spared = [each for each in schedule.sizes if lost[each].boxes < 0.01]
    if spared:
        first = min(spared, key=lambda size: size[0] * size[1])
        rest = f"less than 1 % of the boxes are lost from {size_text(first)} on"
    else:
        rest = "every size loses 1 % of the boxes or more"
    report(
        f"warning: at {size_text(size)}, the smallest size, {lost[size].boxes:.1%} "
        "of the annotated boxes become smaller than min_box_side=1 pixels, and "
        f"{lost[size].images:.1%} of the images lose all of theirs; {rest}"
    )
