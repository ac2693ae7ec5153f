"""The page of the multi-scale benchmark, made from the results of its arms."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from lab.pages import update_page

from mms_plugin.utils.tables import markdown_table

from .arms import (
    BASELINE,
    LONG,
    WIDE_SQRT,
    ablation_arms,
    all_arms,
    long_arms,
    main_arms,
    order_runs,
    peer_arms,
)
from .summary import (
    arm_table,
    by_arm,
    claims,
    gain,
    mean_curve,
    pooled_bins,
    size_table,
    worth_table,
)
from .tasks import tasks

Result = Mapping[str, Any]

DRAWN = (
    "SSc-FBS",
    "MSc-VBSWC",
    "MSc-VBSWC wide",
    WIDE_SQRT,
    "SSc-FBS jitter",
    "SSc-FBS short",
)
"""Arms of the figures, which have six styles of lines."""

DRAWN_LONG = (
    BASELINE,
    LONG,
    WIDE_SQRT,
    f"{WIDE_SQRT} 1.22",
    "SSc-FBS jitter",
    "SSc-FBS jitter 1.26",
)
"""Those of the figure of long trainings."""

TITLES = {
    "detection": "Detection: Faster R-CNN on synthetic scenes",
    "classification": "Classification: ResNet-18 on photographs",
    "nuclei": "Detection: Mask R-CNN on nuclei",
    "classification-swin": "Classification: a small Swin on photographs",
}


INTRODUCTION = """
What MSc-VBS and its curriculum save and gain, against a fixed size, scale jitter and
other schedules:

    python tools/benchmarks/multi_scale.py --data-root DIR

Data: `scenes`, 800 synthetic images to train on and 400 to validate on; in `DIR`,
`caltech20` (20 classes of Caltech-101, 1,673 and 412 images, as
`caltech20/{train,val}/CLASS/*.jpg`) and [`nuclei`](datasets.md#nuclei). What is not
there is left out.

Small models trained from scratch, on two CPU cores or on a GPU. Every number comes from
[results/multi_scale.json](results/multi_scale.json); entries without `device` there are
of a CPU.
ECE and NLL measure the [calibration](evaluation.md#options).
FLOPs are counted (forward and backward), and ratios are against SSc-FBS with the same
seed. CPU time is processor time of the training iterations of the seeds trained on the
CPU, on a machine on which other programs ran: an indication only. `±` is the standard
deviation over the seeds. An answer to a claim is the sign of the mean gain over the
seeds; "within the spread" says that the mean is smaller than the standard deviation of
the gains.
"""


def write_page(results: Sequence[Result], page: Path, seeds: int) -> None:
    """Write tables and figures into a page, and the figures beside it.

    A page that is there keeps what lies outside the markers of the blocks.

    Args:
        results: Results of the arms that are done, in any order.
        page: File of the page; figures are ``<stem>_<task>_*.png`` in its folder.
        seeds: Seeds that an answer to a claim takes.
    """
    page = Path(page).resolve()
    page.parent.mkdir(parents=True, exist_ok=True)
    blocks = {
        "introduction": INTRODUCTION,
        "status": "\n".join(_missing(results, seeds)),
    }
    for name in tasks():
        lines = [f"## {TITLES[name]}", ""]
        if by_arm(results, name):
            lines += _task(results, name, page, seeds)
        else:
            lines += ["No training is done yet."]
        blocks[name] = "\n".join(lines)
    blocks["arms"] = "\n".join(_arms())
    update_page(page, "Multi-scale in longer trainings", blocks)


def _missing(results: Sequence[Result], seeds: int) -> List[str]:
    done = {(r["task"], r["arm"], r["seed"]) for r in results}
    runs = order_runs({n: t.sides for n, t in tasks().items()}, range(seeds))
    rows = [["task", "trainings done", "planned", "arms without any"]]
    for name in tasks():
        own = [run for run in runs if run[0] == name]
        finished = [run for run in own if run in done]
        arms = dict.fromkeys(run[1] for run in own)
        without = [a for a in arms if not any(run[1] == a for run in finished)]
        numbers = len(finished), len(own), len(without)
        rows.append([name, *map(str, numbers)])
    if all(row[1] == row[2] for row in rows[1:]):
        return ["All planned trainings are done."]
    return ["Not all planned trainings are done yet (`--list`):", "", *_table(rows)]


def _task(results: Sequence[Result], name: str, page: Path, seeds: int) -> List[str]:
    task = tasks()[name]
    sides = task.sides
    arms = by_arm(results, name)
    lines = [
        f"Base size {sides.base} px, sizes {sides.low} to {sides.high} px (wide: "
        f"{sides.wide} px) in steps of {sides.step}, {task.epochs} epochs, batch "
        f"{task.batch_size} at the base size, {task.precision}; `{task.metric}` in "
        "percent on "
        f"`{task.data}`. Corruptions: {len(task.corruptions)} of ImageNet-C's at "
        f"severity {task.severity}.",
        "",
        f"The paper's claims; an answer needs {seeds} seeds:",
        "",
        *_claims_table(claims(results, name, seeds)),
        "",
    ]
    lines += _is_level(results, name)
    lines += _table(arm_table(results, name, list(main_arms(sides))))
    rows = arm_table(results, name, list(long_arms(sides)), LONG)
    if len(rows) > 1:
        lines += ["", f"Twice the epochs; ratios against {LONG}:", "", *_table(rows)]
        others = [arm for arm in long_arms(sides) if arm != LONG]
        answers = claims(results, name, seeds, LONG, others)
        lines += ["", *_claims_table(answers)]
    for title, group in (
        ("Other libraries' schedules", peer_arms(sides)),
        ("Changes to the curriculum", ablation_arms(sides)),
    ):
        if any(arm in arms for arm in group):
            rows = arm_table(results, name, list(group))
            lines += ["", f"{title}:", "", *_table(rows)]
    worth = worth_table(results, name, [WIDE_SQRT, *ablation_arms(sides)])
    if len(worth) > 1:
        lines += ["", "What a change is worth, against the same seed without it:", ""]
        lines += _table(worth, text_columns=2)
    lines += ["", "By test size, means over the seeds:", ""]
    lines += _table(size_table(results, name, list(all_arms(sides))))
    lines += ["", *_figures(arms, name, task.metric, page)]
    return lines


def _is_level(results: Sequence[Result], name: str) -> List[str]:
    known = []
    over_short = gain(results, name, BASELINE, "SSc-FBS short")
    if over_short is not None:
        known.append(
            f"It has {over_short.text(sign=True)} points over SSc-FBS short, which "
            "has fewer epochs (about MSc-VBSWC's compute)."
        )
    longer = gain(results, name, LONG, BASELINE)
    if longer is not None:
        known.append(f"Twice the epochs give it {longer.text(sign=True)} points.")
    if not known:
        return []
    return [" ".join(["Has the baseline stopped improving?", *known]), ""]


def _figures(
    arms: Dict[str, List[Result]], name: str, metric: str, page: Path
) -> List[str]:
    from mms_plugin.analysis.pictures import draw_line_panels

    drawn = [arm for arm in DRAWN if arm in arms]
    if not drawn:
        return []
    unit, scale = _unit(max(r["train_flops"] for arm in drawn for r in arms[arm]))
    ylabel = f"{metric} (%)"
    sizes: Dict[str, List[Tuple[float, float]]] = {}
    for arm in drawn:
        by_size = arms[arm][0]["by_size"]
        sizes[arm] = [
            (int(s), sum(r["by_size"][s] for r in arms[arm]) / len(arms[arm]))
            for s in by_size
        ]
    lines = []

    def draw(kind: str, panels: Dict, title: str, xlabel: str, text: str) -> None:
        path = page.with_name(f"{page.stem}_{name}_{kind}.png")
        draw_line_panels(panels, path, title, xlabel)
        lines.append(f"![{text}]({path.name})")

    def draw_compute(kind: str, chosen: Sequence[str], text: str) -> None:
        curves = {
            arm: [(x / scale, y) for x, y in mean_curve(arms[arm])] for arm in chosen
        }
        title, xlabel = "At the base size over the compute so far", "training FLOPs"
        draw(kind, {ylabel: curves}, title, f"{xlabel} so far ({unit})", text)

    draw_compute("compute", drawn, "Accuracy over training FLOPs")
    if LONG in arms:
        known = [arm for arm in DRAWN_LONG if arm in arms]
        draw_compute("long", known, "Accuracy over training FLOPs, twice the epochs")
    draw(
        "sizes",
        {ylabel: sizes},
        "After training, over the test size",
        "side of the test images (px)",
        "Accuracy over the test size",
    )
    bins = {arm: [tuple(p) for p in pooled_bins(arms[arm])] for arm in drawn}
    if any(bins.values()):
        bins = {arm: points for arm, points in bins.items() if points}
        draw(
            "reliability",
            {"accuracy": {"perfect": [(0.0, 0.0), (1.0, 1.0)], **bins}},
            "Reliability at the base size",
            "confidence",
            "Accuracy over confidence",
        )
    return lines


def _unit(value: float) -> Tuple[str, float]:
    for name, scale in (("PFLOPs", 1e15), ("TFLOPs", 1e12), ("GFLOPs", 1e9)):
        if value >= scale:
            return name, scale
    return "FLOPs", 1.0


def _table(rows: Sequence[Sequence[str]], text_columns: int = 1) -> List[str]:
    return [markdown_table(rows, range(text_columns))]


def _claims_table(rows: Sequence[Sequence[str]]) -> List[str]:
    """Return a table of answers, all of them text."""
    return _table(rows, text_columns=len(rows[0]))


def _arms() -> List[str]:
    texts = {
        "SSc-FBS": "one size, fixed batch",
        "SSc-FBS jitter": "the same with the library's own scale jitter: mmdet's "
        "large-scale jitter (`RandomResize`, crop, pad) over the sizes of MSc-VBSWC, "
        "not of *wide*; mmpretrain's `RandomResizedCrop` from 8 % of the image on, "
        "50 % in the other arms",
        "SSc-FBS short": "SSc-FBS for as many epochs as cost MSc-VBSWC's pixels",
        "SSc-FBS jitter short": "the same with jitter",
        "SSc-FBS lr 1.4": "SSc-FBS at 1.4 times the learning rate, which is at "
        "least the mean of `lr sqrt`",
        "MSc-FBS": "sizes drawn uniformly, fixed batch",
        "MSc-VBS": "sizes drawn uniformly, the batch holds the pixels of the base",
        "MSc-VBSWC": "MSc-VBS that starts with the two smallest sizes and has all of "
        "them after 80 % of the training",
        "MSc-VBSWC wide": "the same up to a larger size, after 70 %",
        "MSc-VBSWC wide 0.63, wide 1.00": "the same for as many epochs as cost that "
        "share of SSc-FBS's pixels",
        "SSc-FBS 2.00": "SSc-FBS for twice the epochs",
        "MSc-VBSWC wide lr sqrt 1.22": "*wide lr sqrt* for as many epochs as cost "
        "1.22 times the pixels of SSc-FBS; the tables have its share of the FLOPs",
        "SSc-FBS jitter 1.26": "jitter for 1.26 times the epochs of SSc-FBS",
        "… zoom 1.22, zoom 1.26": "with half of the jitter: images are only enlarged "
        "and cropped, so that objects do not become smaller",
        "MSc-VBSWC jitter, wide jitter": "jitter within the sizes of the curriculum: "
        "each image is resized at random, then cropped and padded to its batch's size",
        "… precise BN": "statistics of batch norm estimated again after training on "
        "20 batches at the base size",
        "… final phase": "another 5 % of the epochs at the base size, at a tenth of "
        "the learning rate",
        "… end at base": "the curriculum ends with the base size only",
        "… by iteration": "grows within an epoch too",
        "… lr sqrt": "learning rate times the root of the relative batch size",
        "… lr sqrt 1.4": "the same at 1.4 times the task's learning rate",
        "… by cost": "batch sizes by `cost_model`: a batch holds the cost of the base "
        "batch, RoI heads included, not its pixels",
        "… weights": "the base size drawn twice as often as others",
        "timm progressive": "the two smallest sizes at first, then one size at a time, "
        "the two largest from 80 % on (after timm's scheduled sampler, whose window is "
        "wider: at half of the growth it has one size 57 % and two others 18 % each)",
        "Composer progressive": "half the side, or the smallest one of MSc-VBS, until "
        "50 %, the base size from 80 % on, fixed batch (Composer's "
        "`ProgressiveResizing`)",
        "FFCV progressive": "5/6 of the side until 74 %, the base size from 86 % on, "
        "fixed batch (FFCV's ImageNet recipe)",
    }
    rows = [["arm", "what it is"], *([name, text] for name, text in texts.items())]
    return ["## The arms", "", *_table(rows, text_columns=2)]
