"""Draw the sizes of whole trainings, one panel for each."""

from __future__ import annotations

from pathlib import Path
from typing import Mapping, Sequence, Tuple

import numpy as np

from mms_plugin.analysis.pictures import COLORS, new_figure, save_figure


def draw_plans(
    plans: Mapping[str, Sequence[Tuple[int, int, int]]],
    path: Path,
) -> None:
    """Draw a panel for each training: the size of every iteration's batch.

    Args:
        plans: ``(height, width, batch_size)`` of every iteration, by the training's
            name.
        path: The PNG to write.
    """
    figure = new_figure(9, 1.2 + 2.1 * len(plans))
    axes = np.atleast_1d(figure.subplots(len(plans), 1, sharex=True, sharey=True))
    figure.suptitle("Size of every batch over the training")
    for number, (axis, (name, plan)) in enumerate(zip(axes, plans.items())):
        sides = [np.sqrt(height * width) for height, width, _ in plan]
        color = COLORS[number % len(COLORS)]
        axis.plot(sides, ".", markersize=3, color=color)
        images = sum(batch_size for _, _, batch_size in plan)
        axis.set_title(
            f"{name}: {len(plan):,} iterations, {images:,} images",
            loc="left",
            fontsize=10,
        )
        axis.set_ylabel("image side (px)")
        axis.grid(alpha=0.3)
    drawn = {height * width for plan in plans.values() for height, width, _ in plan}
    if len(drawn) <= 12:
        axes[0].set_yticks(sorted(np.round(np.sqrt(list(drawn)))))
    axes[-1].set_xlabel("iteration")
    save_figure(figure, path)
