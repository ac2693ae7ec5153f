"""Draw the pictures of README and of the two methods' pages.

``docs/msc_vbs_plan.png`` is the plan of a training, drawn from the sampler itself.
``docs/agvm_multipliers.png`` shows gradient variances that a training measured, and
AGVM's formula at these.

    python tools/misc/draw_methods.py
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools" / "benchmarks")]

import numpy as np  # noqa: E402
from agvm_lab.summary import middle_variances  # noqa: E402
from mmengine.dataset import DefaultSampler  # noqa: E402

from mms_plugin import MultiScaleVariableBatchSampler  # noqa: E402
from mms_plugin.agvm import target_multiplier  # noqa: E402
from mms_plugin.analysis.pictures import (  # noqa: E402
    COLORS,
    MARKERS,
    new_figure,
    save_figure,
)
from mms_plugin.multi_scale import ResolutionCurriculum  # noqa: E402
from tools.smoke import smoke_arguments  # noqa: E402

SIZES = [128, 160, 192, 224, 256, 288, 320]
SHOWN = {128: COLORS[1], 224: COLORS[2], 320: COLORS[3]}
EPOCHS = 30
NAMES = {"rpn_head": "RPN", "roi_head.bbox_head": "box head"}
ARM = ROOT / "docs/results/large_batch/faster-rcnn_sgd_b256_agvm_lr0.08_s0.json"


def draw_plan(path: Path) -> None:
    """Draw three batches to scale, and the sizes of a training's iterations.

    Args:
        path: The PNG to write.
    """
    sampler = MultiScaleVariableBatchSampler(
        DefaultSampler(range(2500), seed=0), 32, 224, SIZES
    )
    curriculum = ResolutionCurriculum(start_sizes=[128, 160])
    sampler.set_curriculum(curriculum, max_epochs=EPOCHS)
    plan = [batch for epoch in range(EPOCHS) for batch in sampler.plan(epoch)]
    # The last batch of an epoch is cut: the largest of a size is a full one.
    batch_sizes = {size: max(n for h, _, n in plan if h == size) for size in SHOWN}

    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2, gridspec_kw=dict(width_ratios=[1.15, 1]))
    corner = 0.0
    for size, color in SHOWN.items():
        images = batch_sizes[size]
        columns = math.ceil(math.sqrt(images))
        for image in range(images):
            row, column = divmod(image, columns)
            left.add_patch(_square(corner + column * size, -row * size, size, color))
        left.text(
            corner + columns * size / 2,
            150,
            f"{images} images\nof {size} px",
            ha="center",
            va="bottom",
        )
        corner += columns * size + 220
    left.set(xlim=(-40, corner - 180), ylim=(-1650, 520), aspect="equal")
    left.set_axis_off()
    left.set_title("Every batch has the same number of pixels", fontsize=11)

    heights = np.array([height for height, _, _ in plan])
    passed = np.arange(len(plan)) / len(plan) * 100
    for size in SIZES:
        drawn = heights == size
        color = SHOWN.get(size, "#888888")
        right.plot(passed[drawn], heights[drawn], "|", color=color, markersize=9)
    right.set(xlabel="training (%)", ylabel="image side (px)", yticks=SIZES)
    right.grid(alpha=0.3)
    right.set_title("The curriculum begins small", fontsize=11)
    save_figure(figure, path)


def _square(x: float, y: float, side: float, color: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(
        (x, y), side, -side, facecolor=color, edgecolor="white", linewidth=0.8
    )


def draw_multipliers(path: Path, arm: Path = ARM) -> None:
    """Draw the angles between two halves' gradients, and what AGVM makes of them.

    Args:
        path: The PNG to write.
        arm: JSON of an arm of ``tools/benchmarks/large_batch.py`` with AGVM.
    """
    variances = middle_variances(json.loads(arm.read_text(encoding="utf-8")))
    anchor = variances["backbone"]
    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    for number, (module, variance) in enumerate(variances.items()):
        x, y = 2.2 * (number % 2), -2.1 * (number // 2)
        angle = math.acos(1 - variance)
        color = COLORS[number % len(COLORS)]
        for turn in (-angle / 2, angle / 2):
            left.annotate(
                "",
                (x + math.sin(turn), y + math.cos(turn)),
                (x, y),
                arrowprops=dict(arrowstyle="-|>", color=color, linewidth=2),
            )
        name = NAMES.get(module, module)
        left.text(x, y - 0.1, f"{name}: Φ = {variance:.2f}", ha="center", va="top")
        multiplier = target_multiplier(anchor, variance, (0.5, 10.0))
        right.plot(
            anchor / variance,
            multiplier,
            MARKERS[number % len(MARKERS)],
            color=color,
            markersize=8,
            label=f"{name}: × {multiplier:.2f}",
        )
    left.set(xlim=(-1.1, 3.3), ylim=(-2.6, 1.1), aspect="equal")
    left.set_axis_off()
    left.set_title("Mean gradients of the two halves of a batch", fontsize=11)

    ratios = np.geomspace(0.1, 30, 200)
    values = [target_multiplier(ratio, 1.0, (0.5, 10.0)) for ratio in ratios]
    right.plot(ratios, values, color="#888888", zorder=0)
    right.set_xscale("log")
    right.set(xlabel="Φ of the backbone / Φ of the module", ylabel="factor on its rate")
    right.grid(alpha=0.3)
    right.legend(loc="upper left", fontsize=9)
    right.set_title("The factor that AGVM moves towards", fontsize=11)
    save_figure(figure, path)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs", help="folder of the pictures"
    )
    args = parser.parse_args(
        smoke_arguments(parser, None, lambda folder: ["--out", str(folder)])
    )
    args.out.mkdir(parents=True, exist_ok=True)
    draw_plan(args.out / "msc_vbs_plan.png")
    draw_multipliers(args.out / "agvm_multipliers.png")
    print(f"{args.out}: msc_vbs_plan.png, agvm_multipliers.png")


if __name__ == "__main__":
    main()
