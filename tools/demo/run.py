"""The demo: trains the arms on the built-in data and writes the report.

Leaves ``report.md``, ``report.json`` and the pictures in its work directory. What is
there already is not done again: the data, and every arm that was trained with the same
config. It can be interrupted at any time.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, Path(__file__).resolve().parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import documented  # noqa: E402
import measuring  # noqa: E402
import report  # noqa: E402
from tasks import CLASSIFICATION, DETECTION, TASKS, DemoTask  # noqa: E402
from trainings import DemoError, Trainings, say, threads_of  # noqa: E402

from mms_plugin import cli  # noqa: E402
from mms_plugin.utils.tables import plain_table  # noqa: E402
from tools.smoke import smoke_arguments  # noqa: E402

CONFIGS = ROOT / "configs" / "demo"
DET_IMAGES = (640, 160)


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``."""
    return (
        f"--work-dir {folder / 'run'} --tasks classification --epochs 1 "
        "--train-images 16 --val-images 12 --test-sizes 64"
    ).split()


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work-dir", default="work_dirs/demo", help="default: work_dirs/demo"
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=list(TASKS),
        default=list(TASKS),
        help="parts to run (default: both)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of data and training")
    parser.add_argument(
        "--jobs",
        type=int,
        metavar="N",
        help="trainings at a time (default: all arms of a task)",
    )
    parser.add_argument(
        "--epochs",
        type=int,
        help="epochs of the classification (default: those of the configs)",
    )
    parser.add_argument(
        "--train-images",
        type=int,
        default=2400,
        help="training images of the classification (default: 2400)",
    )
    parser.add_argument(
        "--val-images",
        type=int,
        default=600,
        help="validation images of the classification (default: 600)",
    )
    parser.add_argument(
        "--test-sizes",
        type=int,
        nargs="+",
        default=list(CLASSIFICATION.test_sizes),
        metavar="PIXELS",
        help="image sides to test at; the base size is always among them",
    )
    parser.add_argument(
        "--det-epochs",
        type=int,
        help="epochs of the detection (default: those of the configs)",
    )
    parser.add_argument(
        "--det-images",
        type=int,
        nargs=2,
        default=list(DET_IMAGES),
        metavar=("TRAIN", "VAL"),
        help="detection images to draw, default: {} {}".format(*DET_IMAGES),
    )
    parser.add_argument(
        "--det-test-sizes",
        type=int,
        nargs="+",
        default=list(DETECTION.test_sizes),
        metavar="PIXELS",
        help="image sides to test the detector at; the base size is always among them",
    )
    parser.add_argument("--json", action="store_true", help="print only report.json")
    args = parser.parse_args(smoke_arguments(parser, argv, smoke))
    least = dict(epochs=1, seed=0, jobs=1, train_images=12, val_images=12)
    least.update(det_epochs=1, test_sizes=16, det_test_sizes=32, det_images=1)
    for name, low in least.items():
        value = getattr(args, name)
        lowest = min(value) if isinstance(value, list) else value
        if lowest is not None and lowest < low:
            option = name.replace("_", "-")
            parser.error(f"--{option} must be at least {low}, but got {value}")
    args.test_sizes = sorted({*args.test_sizes, CLASSIFICATION.base_size})
    args.det_test_sizes = sorted({*args.det_test_sizes, DETECTION.base_size})
    args.tasks = [name for name in TASKS if name in args.tasks]
    return args


# ------------------------------------------------------------------------ the arms


class TaskRun:
    """One task with what the command line says about it.

    Attributes:
        task: The task.
        seed: Of data and training.
        test_sizes: Image sides in pixels, in order.
        jobs: Trainings at a time.
        epochs: Of the baseline, where the user sets them; an arm whose config has
            fewer or more gets the same share of them.
        work_dir: The demo's folder.
    """

    def __init__(self, task: DemoTask, args: argparse.Namespace) -> None:
        detection = task is DETECTION
        self.epochs = args.det_epochs if detection else args.epochs
        self.task, self.seed = task, args.seed
        self.test_sizes = args.det_test_sizes if detection else args.test_sizes
        self.jobs = min(args.jobs or task.jobs, len(task.arms))
        self.work_dir = Path(args.work_dir)

    def options_of(self, file: str) -> Dict[str, Any]:
        """Return what is changed in the config of an arm."""
        options: Dict[str, Any] = {"randomness.seed": self.seed}
        if self.epochs is None:
            return options
        own, base = (
            measuring.load_config(CONFIGS / name, {}).train_cfg.max_epochs
            for name in (file, self.task.arms[0][1])
        )
        epochs = max(1, round(self.epochs * own / base))
        interval = max(1, min(self.task.val_interval, epochs // 2))
        options.update(
            {
                "train_cfg.max_epochs": epochs,
                "train_cfg.val_interval": interval,
                "param_scheduler.1.T_max": epochs,
                "param_scheduler.1.end": epochs,
            }
        )
        return options

    def load_config(self, file: str) -> Any:
        """Return the config of an arm as it is trained."""
        return measuring.load_config(CONFIGS / file, self.options_of(file))

    def fingerprint(self, cfg: Any) -> str:
        """Return a key that changes with whatever changes an arm's training."""
        import torch

        from mms_plugin import __version__

        manifest = json.loads((self.work_dir / "scenes" / "manifest.json").read_text())
        # The other task's images are no part of this one.
        manifest["parameters"] = {
            name: value
            for name, value in manifest["parameters"].items()
            if name in ("seed", "jpeg_quality")
            or name.startswith("det_") == (self.task is DETECTION)
        }
        text = [cfg.pretty_text, json.dumps(manifest)]
        text += [torch.__version__, __version__, "with training time"]
        return hashlib.sha256("\n".join(text).encode()).hexdigest()


class _Arm:
    """One arm on its way: found complete, trained, or training.

    ``arm.json`` has the times of a training as soon as it ends, and the arm once it is
    evaluated: who interrupts the evaluation does not train again.
    """

    def __init__(
        self, name: str, file: str, run: TaskRun, trainings: Trainings
    ) -> None:
        self.name, self.run = name, run
        self.config = CONFIGS / file
        self.cfg = run.load_config(file)
        self.key = run.fingerprint(self.cfg)
        self.work_dir = run.work_dir / self.config.stem
        self.state_file = self.work_dir / "arm.json"
        self.state: Dict[str, Any] = {}
        self.training: Optional[Future[None]] = None
        if self.state_file.exists():
            self.state = json.loads(self.state_file.read_text())
        if self.state.get("fingerprint") == self.key and "times" in self.state:
            say(f"      {name}: already trained, {self.work_dir}")
            return
        shutil.rmtree(self.work_dir, ignore_errors=True)
        self.work_dir.mkdir(parents=True)
        self.training = trainings.start(
            name, self.config, self.work_dir, run.options_of(file), self._keep_times
        )

    def _keep_times(self, wall_clock: float, cpu_time: float) -> None:
        self.state = dict(fingerprint=self.key, times=[wall_clock, cpu_time])
        report.write_text(self.state_file, json.dumps(self.state))

    @property
    def checkpoint(self) -> Path:
        return Path((self.work_dir / "last_checkpoint").read_text().strip())

    def result(self) -> report.Arm:
        """Wait for the training, evaluate, and keep what it gave."""
        if self.training is not None:
            self.training.result()
        sizes = self.run.test_sizes
        if self.state.get("test_sizes") == sizes:
            return report.arm_from_json(json.dumps(self.state["arm"]))
        with measuring.library_of(self.cfg):
            arm = self._measure(*self.state["times"])
        self.state.update(test_sizes=sizes, arm=json.loads(report.arm_to_json(arm)))
        report.write_text(self.state_file, json.dumps(self.state))
        return arm

    def _measure(self, wall_clock: float, cpu_time: float) -> report.Arm:
        from mmengine.runner import set_random_seed
        from mmengine.runner.checkpoint import CheckpointLoader

        from mms_plugin.analysis import agvm_curves

        task, sizes = self.run.task, self.run.test_sizes
        set_random_seed(self.run.seed)  # of the images that FLOPs are counted on
        loader = measuring.training_loader(self.cfg)
        plan = measuring.run_plan(task, self.cfg, loader)
        saved = CheckpointLoader.load_checkpoint(str(self.checkpoint), "cpu")
        planned = sum(len(epoch) for epoch in plan)
        if saved["meta"]["iter"] != planned:
            raise DemoError(
                f"{self.name} ran {saved['meta']['iter']} iterations, but its plan has "
                f"{planned}: the report would be wrong"
            )
        say(f"      {self.name}: evaluating at sizes {', '.join(map(str, sizes))}")
        model = measuring.build_model(self.cfg, self.checkpoint)
        flops = measuring.count_sizes(model, loader, plan)
        records = measuring.read_scalars(self.work_dir)
        return report.Arm(
            name=self.name,
            config=str(self.config.relative_to(ROOT)),
            epochs=self.cfg.train_cfg.max_epochs,
            plan=plan,
            train_flops=[
                sum(images * flops[height, width] for height, width, images in epoch)
                for epoch in plan
            ],
            wall_clock=wall_clock,
            cpu_time=cpu_time,
            train_time=measuring.training_time(saved),
            metrics_by_size=measuring.evaluate(task, self.cfg, model, sizes),
            curve=measuring.validation_curve(task, records),
            agvm=agvm_curves(records),
        )


# -------------------------------------------------------------------- the pictures


def draw_pictures(task: report.Task, content: Dict[str, Any], run: TaskRun) -> None:
    """Draw what ``task.pictures`` names."""
    from mms_plugin.analysis import pictures
    from tools.demo.plan_picture import draw_plans

    arms, folder = content["arms"], run.work_dir
    draw_plans(
        {arm.name: [item for epoch in arm.plan for item in epoch] for arm in task.arms},
        folder / f"{task.name}_sizes.png",
    )
    pictures.draw_line_panels(
        {
            metric: {
                arm["name"]: [
                    (point["train_flops"] / 1e12, point["metrics"][metric])
                    for point in arm["curve"]
                    if metric in point["metrics"]
                ]
                for arm in arms
            }
            for metric in task.metrics
        },
        folder / f"{task.name}_metric_over_flops.png",
        f"Validation at {task.base_size} px over the compute spent",
        "training FLOPs so far (TFLOPs, forward and backward)",
    )
    pictures.draw_line_panels(
        {
            metric: {
                arm.name: list(arm.metrics_by_size[metric].items()) for arm in task.arms
            }
            for metric in task.metrics
        },
        folder / f"{task.name}_test_sizes.png",
        "Trained models at several test sizes",
        "test image side (px)",
    )
    cfg = run.load_config(run.task.arms[-1][1])
    with measuring.library_of(cfg):
        batches = measuring.batches_by_size(cfg)
    pictures.draw_contact_sheet(
        batches,
        folder / f"{task.name}_batches.png",
        "One augmented training batch of each size, to scale",
    )


def draw_detections(task: report.Task, run: TaskRun) -> None:
    """Draw the arms' detections side by side, and AGVM's curves."""
    from mms_plugin.analysis import pictures

    rows = []
    for _, file in run.task.arms:
        cfg = run.load_config(file)
        work_dir = run.work_dir / Path(file).stem
        checkpoint = Path((work_dir / "last_checkpoint").read_text().strip())
        with measuring.library_of(cfg):
            model = measuring.build_model(cfg, checkpoint)
            rows.append(measuring.predicted_images(cfg, model, task.base_size))
    pictures.draw_contact_sheet(
        rows,
        run.work_dir / "detection_examples.png",
        f"Masks found in the first validation images, score above "
        f"{measuring.DRAWN_SCORE}: {measuring.CLASS_COLOR_NAMES}",
        captions=[name for name, _ in run.task.arms],
    )
    for arm in task.arms:
        if arm.agvm:
            pictures.draw_line_panels(
                report.agvm_panels(arm.agvm),
                run.work_dir / "detection_agvm.png",
                f"What AGVM measured in {arm.name} (modulate=False)",
                "iteration",
            )


# ----------------------------------------------------------------------- the tasks


def _note(run: TaskRun, args: argparse.Namespace, arms: List[report.Arm]) -> str:
    if run.task is CLASSIFICATION:
        share = arms[0].metrics_by_size["top-1 (%)"][CLASSIFICATION.base_size] / 100
        standard_error = 100 * (2 * share * (1 - share) / args.val_images) ** 0.5
        return (
            f"A narrow ResNet-18 from scratch on {args.train_images:,} images of the "
            f"built-in scenes (12 classes: 4 shapes times 3 textures), "
            f"{args.val_images:,} to validate on. One seed: {args.seed}; by the "
            f"number of validation images alone, the difference of two arms has a "
            f"standard error of about {standard_error:.1f} points."
        )
    train, val = args.det_images
    return (
        f"A small Mask R-CNN (ResNet-18 with a quarter of the channels, FPN) from "
        f"scratch on {train:,} built-in scenes with 1 to 6 objects of 4 shapes, partly "
        f"hidden; {val:,} to validate on. mAP is COCO's, over IoU 0.50 to 0.95, in "
        f"percent. One seed: {args.seed}."
    )


def train_task(run: TaskRun, args: argparse.Namespace, step: str) -> report.Task:
    """Train and evaluate all arms of a task."""
    task = run.task
    say(
        f"{step} {task.name}: training {len(task.arms)} arms, {run.jobs} at a time, "
        f"usually {task.minutes} min on two cores"
    )
    with Trainings(task, run.jobs) as trainings:
        under_way = [_Arm(name, file, run, trainings) for name, file in task.arms]
        arms = [arm.result() for arm in under_way]
    metrics = list(task.metrics.values())
    all_metrics = " and ".join(metrics)
    captions = {
        "metric_over_flops": f"{all_metrics} over cumulated training FLOPs",
        "sizes": "Size of every batch over the training",
        "test_sizes": f"{all_metrics} by test size",
        "batches": "One augmented training batch of each size",
    }
    if task is DETECTION:
        captions["examples"] = (
            f"Masks found in the first validation images at {task.base_size} px: "
            + measuring.CLASS_COLOR_NAMES
        )
    if any(arm.agvm for arm in arms):
        captions["agvm"] = "phi and mu by module over the training"
    return report.Task(
        name=task.name,
        metrics=metrics,
        base_size=task.base_size,
        arms=arms,
        note=_note(run, args, arms),
        pictures={f"{task.name}_{key}.png": text for key, text in captions.items()},
    )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the demo; see ``--help``."""
    args = parse_args(argv)
    # Whatever the libraries print must not get into the JSON.
    with contextlib.redirect_stdout(sys.stderr):
        content = run_demo(args, sys.argv[1:] if argv is None else argv)
    if args.json:
        print(json.dumps(content, indent=2))
    return 0


def run_demo(args: argparse.Namespace, argv: Sequence[str]) -> Dict[str, Any]:
    """Draw, train, evaluate, report.

    Returns:
        The content of ``report.json``.
    """
    start = time.perf_counter()
    folder = Path(args.work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    # The configs read where the data is from here.
    os.environ["MMS_SCENES"] = str((folder / "scenes").absolute())
    # Its figures are those of CPUs, and mmcv's operators may be built without CUDA.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # Threads that spin while they wait take the cores from the data's workers: on two
    # busy cores an iteration took 20 times as long. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch
    from mmengine.logging import MMLogger

    from tools.demo.scenes import SceneParameters, write_scenes

    # What the libraries tell about each config and checkpoint hides our own lines.
    MMLogger.get_current_instance().setLevel("WARNING")
    steps = 2 + len(args.tasks)
    say(f"[1/{steps}] drawing the built-in data, usually 20 s")
    parameters = SceneParameters(
        seed=args.seed,
        train_images=args.train_images,
        val_images=args.val_images,
        det_train_images=args.det_images[0],
        det_val_images=args.det_images[1],
    )
    write_scenes(folder / "scenes", parameters, log=say)
    runs = [TaskRun(TASKS[name], args) for name in args.tasks]
    tasks = [
        train_task(run, args, f"[{number}/{steps}]")
        for number, run in enumerate(runs, start=2)
    ]
    say(f"[{steps}/{steps}] report and pictures")
    about = dict(
        command=" ".join(["tools/demo/run.py", *argv]),
        python=platform.python_version(),
        torch=torch.__version__,
        device=f"CPU, {os.cpu_count()} cores",
        training="; ".join(
            f"{run.task.name} {run.jobs} arms at a time, "
            f"{threads_of(run.jobs)} thread(s) each"
            for run in runs
        ),
        seed=args.seed,
    )
    content = report.assemble(tasks, about)
    for run, task in zip(runs, tasks):
        draw_pictures(task, content["tasks"][task.name], run)
        if run.task is DETECTION:
            draw_detections(task, run)
    report.write_report(folder, content)
    for name, found in content["tasks"].items():
        rows = documented.beside(name, found, args.seed)
        if rows:
            say(plain_table(rows, text_columns=(0, 1)))
    say(f"done in {time.perf_counter() - start:.0f} s: {folder / 'report.md'}")
    return content


if __name__ == "__main__":
    # A training that goes on alone would be of no use to anyone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cli.quiet_hosts()
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted: run it again to continue after the last completed arm")
        sys.exit(130)
    except (DemoError, ValueError) as error:
        say(f"error: {error}")
        sys.exit(1 if isinstance(error, DemoError) else 2)
