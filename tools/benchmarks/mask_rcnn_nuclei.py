"""Mask R-CNN on microscope images: SSc-FBS, MSc-VBS and MSc-VBSWC.

A small Mask R-CNN learns the nuclei of the 2018 Data Science Bowl from scratch, through
``configs/mask_rcnn/mask-rcnn-r18_*_1xb8-*_nuclei.py`` and ``tools/train.py``. A second
baseline has a schedule so short that it costs about as much as MSc-VBSWC. Each training
has a folder of its own: one that is done is not run again, one that was cut off goes on
from its last checkpoint.

    python tools/benchmarks/mask_rcnn_nuclei.py --data-root DIR

leaves ``report.md``, ``report.json`` and ``map_over_flops.png`` in the work directory.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Tuple

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mms_plugin.utils.files import write_atomically  # noqa: E402
from mms_plugin.utils.tables import markdown_table  # noqa: E402
from tools.smoke import smoke_arguments  # noqa: E402

CONFIG = "configs/mask_rcnn/mask-rcnn-r18_{}_1xb8-16e_nuclei.py"
#: Arm: recipe, and its epochs where these are not the config's.
ARMS: Dict[str, Tuple[str, int]] = {
    "SSc-FBS": ("fbs", 0),
    "SSc-FBS, short": ("fbs", 10),
    "MSc-VBS": ("vbs", 0),
    "MSc-VBSWC": ("vbs-cur", 0),
}
METRICS = dict(box="coco/bbox_mAP", mask="coco/segm_mAP")


def options(args: argparse.Namespace, recipe: str, epochs: int, seed: int) -> Dict:
    """Return what the command line changes in an arm's config."""
    root = str(Path(args.data_root).resolve()) + "/"
    dataset = "train_dataloader.dataset"
    chosen = {
        f"{dataset}.data_root" if recipe == "fbs" else f"{dataset}.dataset.data_root": (
            root
        ),
        "randomness.seed": seed,
        "default_hooks.logger.interval": 20,
    }
    for split in ("val", "test"):
        chosen[f"{split}_dataloader.dataset.data_root"] = root
        chosen[f"{split}_evaluator.ann_file"] = root + "annotations/instances_val.json"
    for split in ("train", "val", "test"):
        chosen[f"{split}_dataloader.num_workers"] = 0
        chosen[f"{split}_dataloader.persistent_workers"] = False
    epochs = args.epochs or epochs
    if epochs:
        chosen.update(
            {
                "train_cfg.max_epochs": epochs,
                "train_cfg.val_interval": max(1, epochs // 4),
                "param_scheduler.1.T_max": epochs,
                "param_scheduler.1.end": epochs,
            }
        )
    return chosen


def config_of(args: argparse.Namespace, arm: str, seed: int) -> Tuple[Path, Any, Dict]:
    """Return the config's file, the config with the options, and the options."""
    from mmengine.config import Config

    recipe, epochs = ARMS[arm]
    path = ROOT / CONFIG.format(recipe)
    config = Config.fromfile(str(path))
    chosen = options(args, recipe, epochs, seed)
    config.merge_from_dict(chosen)
    return path, config, chosen


def folder_of(args: argparse.Namespace, arm: str, seed: int) -> Path:
    """Return where a training writes."""
    name = arm.lower().replace(", ", "-")
    return Path(args.work_dir) / f"{name}-seed{seed}"


def train(
    args: argparse.Namespace, arm: str, seed: int, found: Tuple[Path, Any, Dict]
) -> None:
    """Train one arm through ``tools/train.py``, or go on with it."""
    path, config, chosen = found
    folder = folder_of(args, arm, seed)
    folder.mkdir(parents=True, exist_ok=True)
    settings = folder / "settings.json"
    # Checkpoints of other settings must not be taken for these.
    text = config.pretty_text
    if settings.exists() and json.loads(settings.read_text())["config"] != text:
        raise SystemExit(
            f"{folder} holds a run of other settings. Choose another --work-dir."
        )
    write_atomically(json.dumps(dict(config=text)).encode(), settings)
    times = folder / "times.jsonl"
    if (folder / f"epoch_{config.train_cfg.max_epochs}.pth").exists():
        return
    command = [sys.executable, str(ROOT / "tools" / "train.py"), str(path)]
    command += ["--work-dir", str(folder), "--resume", "--cfg-options"]
    command += [f"{key}={value}" for key, value in chosen.items()]
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    print(f"{arm}, seed {seed}: training", file=sys.stderr, flush=True)
    start = time.perf_counter()
    with (folder / "train.log").open("a") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arm}, seed {seed} failed: see {folder / 'train.log'}")
    line = dict(
        wall_clock=time.perf_counter() - start,
        cpu_time=used.ru_utime + used.ru_stime,
    )
    with times.open("a") as file:
        file.write(json.dumps(line) + "\n")


def plan_of(config: Any) -> List[List[Tuple[int, int, int]]]:
    """Return ``(height, width, batch_size)`` of every iteration, epoch by epoch."""
    from mmengine.runner import Runner

    from mms_plugin.analysis import curriculum_of, fixed_size_plan, multi_scale_plans

    # The sampler's seed is that of the training, as its runner gives it.
    loader = Runner.build_dataloader(
        copy.deepcopy(config.train_dataloader), seed=config.randomness.seed
    )
    epochs = config.train_cfg.max_epochs
    if not hasattr(loader.batch_sampler, "plan"):
        side = config.base_size
        plan = fixed_size_plan(
            len(loader.dataset), loader.batch_sampler.batch_size, (side, side)
        )
        return [plan] * epochs
    return list(multi_scale_plans(loader.batch_sampler, epochs, curriculum_of(config)))


def flops_by_size(
    args: argparse.Namespace, checkpoint: Path, sizes: List[Tuple[int, int]]
) -> Dict[Tuple[int, int], float]:
    """Training FLOPs of an image by size, on real images and a trained model."""
    from mmengine.runner import Runner, load_checkpoint

    from mms_plugin.analysis import build_model, training_flops_per_image

    _, config, _ = config_of(args, "SSc-FBS", 0)
    model: Any = build_model(config)
    load_checkpoint(model, str(checkpoint), map_location="cpu", logger="silent")

    def make_batch(batch_size: int, height: int, width: int) -> Dict[str, Any]:
        loader = copy.deepcopy(config.train_dataloader)
        loader.batch_size = batch_size
        # The same images at every size.
        loader.sampler.shuffle = False
        for step in loader.dataset.pipeline:
            if step["type"] == "Resize":
                step["scale"] = (width, height)
            if step["type"] == "RandomFlip":
                step["prob"] = 0.0
        batch = next(iter(Runner.build_dataloader(loader)))
        return model.data_preprocessor(batch, True)

    return training_flops_per_image(model, make_batch, sizes, batch_size=16)


def evaluate(config: Any, checkpoint: Path, size: int) -> Dict[str, float]:
    """Box and mask mAP in percent at a test size."""
    from mmengine.evaluator import Evaluator
    from mmengine.runner import Runner, load_checkpoint

    from mms_plugin.analysis import build_model
    from mms_plugin.evaluation import pipeline_at_size

    model: Any = build_model(config)
    load_checkpoint(model, str(checkpoint), map_location="cpu", logger="silent")
    model.eval()
    loader_cfg = copy.deepcopy(config.test_dataloader)
    dataset = loader_cfg.dataset
    dataset.pipeline = pipeline_at_size(dataset.pipeline, size)
    loader = Runner.build_dataloader(loader_cfg)
    evaluator = Evaluator(copy.deepcopy(config.test_evaluator))
    evaluator.dataset_meta = loader.dataset.metainfo
    with torch.no_grad():
        for batch in loader:
            evaluator.process(model.test_step(batch), batch)
    found = evaluator.evaluate(len(loader.dataset))
    return {name: 100 * found[key] for name, key in METRICS.items()}


def curve_of(folder: Path) -> List[Dict[str, float]]:
    """Epoch, box and mask mAP of each validation, from MMEngine's JSON logs."""
    points = {}
    for log in sorted(folder.glob("*/vis_data/scalars.json")):
        for line in log.read_text().splitlines():
            record = json.loads(line)
            if METRICS["box"] in record:
                points[int(record["step"])] = {
                    name: 100 * record[key] for name, key in METRICS.items()
                }
    return [dict(epoch=epoch, **points[epoch]) for epoch in sorted(points)]


def result_of(args: argparse.Namespace, arm: str, seed: int) -> Dict[str, Any]:
    """Return what a finished training gave; measured once, then read."""
    from mmengine.registry import init_default_scope
    from mmengine.runner.checkpoint import CheckpointLoader

    folder = folder_of(args, arm, seed)
    path = folder / "result.json"
    if path.exists():
        found = json.loads(path.read_text())
        if found["test_sizes"] == args.test_sizes:
            return found
    torch.set_num_threads(1)
    _, config, _ = config_of(args, arm, seed)
    init_default_scope("mmdet")
    import mms_plugin  # noqa: F401

    plan = plan_of(config)
    checkpoint = folder / f"epoch_{config.train_cfg.max_epochs}.pth"
    saved = CheckpointLoader.load_checkpoint(str(checkpoint), "cpu")["meta"]["iter"]
    if saved != sum(map(len, plan)):
        raise SystemExit(
            f"{arm}, seed {seed} ran {saved} iterations, but its plan has "
            f"{sum(map(len, plan))}: the report would be wrong"
        )
    sizes = sorted({item[:2] for epoch in plan for item in epoch})
    flops = flops_by_size(args, checkpoint, sizes)
    by_epoch = [sum(b * flops[h, w] for h, w, b in epoch) for epoch in plan]
    curve = curve_of(folder)
    for point in curve:
        point["train_flops"] = sum(by_epoch[: int(point["epoch"])])
    at_size = {}
    for size in args.test_sizes:
        if size == config.base_size and curve:
            at_size[size] = {name: curve[-1][name] for name in METRICS}
        else:
            at_size[size] = evaluate(config, checkpoint, size)
    log = folder / "times.jsonl"
    times = list(map(json.loads, log.read_text().splitlines())) if log.exists() else []
    result = dict(
        arm=arm,
        seed=seed,
        epochs=config.train_cfg.max_epochs,
        iterations=sum(map(len, plan)),
        images=sum(b for epoch in plan for _, _, b in epoch),
        train_flops=sum(by_epoch),
        cpu_time=sum(line["cpu_time"] for line in times) or None,
        wall_clock=sum(line["wall_clock"] for line in times) or None,
        flops_per_image={f"{h}x{w}": value for (h, w), value in flops.items()},
        base_size=config.base_size,
        test_sizes=args.test_sizes,
        at_size=at_size,
        curve=curve,
    )
    write_atomically(json.dumps(result, indent=2).encode(), path)
    return json.loads(path.read_text())


def report(args: argparse.Namespace, results: List[Dict[str, Any]]) -> str:
    """Return the tables; ratios and means are over the seeds."""
    by_arm = {
        arm: [r for r in results if r["arm"] == arm]
        for arm in ARMS
        if any(r["arm"] == arm for r in results)
    }
    first = next(iter(by_arm.values()))

    def mean(runs: List[Dict[str, Any]], key: str) -> float:
        # A training from elsewhere has no times.
        return statistics.mean(run[key] for run in runs if run[key] is not None)

    costs = ["epochs", "iterations", "training FLOPs", "CPU time"]
    rows = [["arm", *costs, "box mAP", "mask mAP"]]
    for arm, runs in by_arm.items():
        shown = []
        for kind in METRICS:
            base = str(runs[0]["base_size"])
            values = [run["at_size"][base][kind] for run in runs]
            each = ", ".join(f"{value:.1f}" for value in values)
            shown.append(f"{statistics.mean(values):.1f} ({each})")
        flops, cpu = mean(runs, "train_flops"), mean(runs, "cpu_time")
        rows.append(
            [
                arm,
                f"{runs[0]['epochs']}",
                f"{mean(runs, 'iterations'):,.0f}",
                f"{flops / 1e12:.2f} TFLOPs ({flops / mean(first, 'train_flops'):.2f})",
                f"{cpu / 60:.1f} min ({cpu / mean(first, 'cpu_time'):.2f})",
                *shown,
            ]
        )
    lines = [markdown_table(rows)]
    for kind in METRICS:
        lines += ["", f"{kind.capitalize()} mAP by test size (px), means:", ""]
        rows = [["arm", *map(str, args.test_sizes)]]
        for arm, runs in by_arm.items():
            cells = [
                statistics.mean(run["at_size"][str(size)][kind] for run in runs)
                for size in args.test_sizes
            ]
            rows.append([arm, *(f"{cell:.1f}" for cell in cells)])
        lines.append(markdown_table(rows))
    return "\n".join(lines) + "\n"


def draw(results: List[Dict[str, Any]], path: Path) -> None:
    """Draw mAP over cumulated training FLOPs, a line a training."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    colors = ["#000000", "#999999", "#E69F00", "#0072B2"]  # Okabe and Ito
    marks = ["o", "v", "s", "D"]
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharex=True)
    for axis, kind in zip(axes, METRICS):
        for arm, color, mark in zip(ARMS, colors, marks):
            runs = [result for result in results if result["arm"] == arm]
            for number, run in enumerate(runs):
                axis.plot(
                    [point["train_flops"] / 1e12 for point in run["curve"]],
                    [point[kind] for point in run["curve"]],
                    color=color,
                    marker=mark,
                    markersize=5,
                    linestyle=["-", "--", ":"][number % 3],
                    label=f"{arm}, seed {run['seed']}",
                )
        axis.set_xlabel("cumulated training FLOPs (TFLOPs)")
        axis.set_ylabel(f"{kind} mAP (%)")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``; write their data."""
    from made_nuclei import write_nuclei

    root = write_nuclei(folder / "data", train=8)
    return (
        f"--data-root {root} --work-dir {folder / 'run'} --arms SSc-FBS MSc-VBSWC "
        "--seeds 1 --epochs 1 --test-sizes 128 256"
    ).split()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-root", required=True, help="folder of the nuclei data")
    parser.add_argument("--work-dir", default="work_dirs/mask_rcnn_nuclei")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--epochs", type=int, help="of every arm (default: its own)")
    parser.add_argument(
        "--test-sizes", type=int, nargs="+", default=[160, 192, 256, 320]
    )
    parser.add_argument(
        "--jobs", type=int, default=2, help="trainings at a time, one thread each"
    )
    return parser.parse_args(smoke_arguments(parser, None, smoke))


def main() -> None:
    """Train what is missing, then report."""
    args = parse_args()
    annotations = Path(args.data_root) / "annotations" / "instances_train.json"
    if not annotations.is_file():
        raise SystemExit(f"--data-root {args.data_root} has no {annotations}")
    runs = [(arm, seed) for seed in args.seeds for arm in args.arms]
    # MMEngine does not read configs in several threads.
    found = {run: config_of(args, *run) for run in runs}
    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        for done in [pool.submit(train, args, *run, found[run]) for run in runs]:
            done.result()
    results = [result_of(args, *run) for run in runs]
    folder = Path(args.work_dir)
    text = report(args, results)
    write_atomically(json.dumps(results, indent=2).encode(), folder / "report.json")
    write_atomically(text.encode(), folder / "report.md")
    draw(results, folder / "map_over_flops.png")
    print(text)


if __name__ == "__main__":
    main()
