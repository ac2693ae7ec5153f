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
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, Path(__file__).resolve().parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import report  # noqa: E402

BASE_SIZE = 64
TEST_SIZES = (40, 48, 64, 80, 96)
ARMS = (
    ("SSc-FBS", "resnet18_fbs_1xb16-18e_scenes.py"),
    ("MSc-VBS", "resnet18_vbs_1xb16-18e_scenes.py"),
    ("MSc-VBSWC", "resnet18_vbs-cur_1xb16-18e_scenes.py"),
)
JOBS = 3  # trainings at a time: more than cores, so that none idles
METRIC = "top-1 (%)"


class DemoError(Exception):
    """What stops the demo, in one line for the user."""


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--work-dir", default="work_dirs/demo", help="default: work_dirs/demo"
    )
    parser.add_argument("--epochs", type=int, help="default: the configs' own")
    parser.add_argument("--seed", type=int, default=0, help="of data and training")
    parser.add_argument("--train-images", type=int, default=2400, help="default: 2400")
    parser.add_argument("--val-images", type=int, default=600, help="default: 600")
    parser.add_argument(
        "--det-images",
        type=int,
        nargs=2,
        default=[320, 80],
        metavar=("TRAIN", "VAL"),
        help="detection images to draw, default: 320 80",
    )
    parser.add_argument(
        "--test-sizes",
        type=int,
        nargs="+",
        default=list(TEST_SIZES),
        metavar="PIXELS",
        help="image sides to test at; the base size is always among them",
    )
    parser.add_argument(
        "--json", action="store_true", help="print report.json, and nothing else"
    )
    args = parser.parse_args(argv)
    for name, low in dict(epochs=1, seed=0, train_images=12, val_images=12).items():
        value = getattr(args, name)
        if value is not None and value < low:
            option = name.replace("_", "-")
            parser.error(f"--{option} must be at least {low}, but got {value}")
    if min(args.test_sizes) < 16:
        parser.error(f"--test-sizes must be at least 16, but got {args.test_sizes}")
    args.test_sizes = sorted({*args.test_sizes, BASE_SIZE})
    return args


def say(line: str) -> None:
    """To the user; standard output is kept for ``--json``."""
    print(line, file=sys.stderr, flush=True)


# ------------------------------------------------------------------------ the arms


def config_options(args: argparse.Namespace) -> Dict[str, Any]:
    """What the command line changes in every arm's config."""
    options: Dict[str, Any] = {"randomness.seed": args.seed}
    if args.epochs is not None:
        options.update(
            {
                "train_cfg.max_epochs": args.epochs,
                "train_cfg.val_interval": max(1, min(2, args.epochs // 2)),
                "param_scheduler.1.T_max": args.epochs,
                "param_scheduler.1.end": args.epochs,
            }
        )
    return options


def load_config(config: Path, options: Dict[str, Any]) -> Any:
    from mmengine.config import Config

    cfg = Config.fromfile(str(config))
    cfg.merge_from_dict(dict(options))
    return cfg


def fingerprint(cfg: Any, manifest: str) -> str:
    """Changes with whatever would change an arm's result."""
    import torch

    from mms_plugin import __version__

    text = "\n".join([cfg.pretty_text, manifest, torch.__version__, __version__])
    return hashlib.sha256(text.encode()).hexdigest()


class Trainings:
    """Trains arms side by side, each with its share of the processor's threads.

    A small network does not keep two threads busy; two trainings do.

    Args:
        jobs: How many train at a time.
    """

    def __init__(self, jobs: int) -> None:
        self.threads = max(1, (os.cpu_count() or 1) // jobs)
        self._pool = ThreadPoolExecutor(jobs)
        self._running: List[subprocess.Popen[str]] = []

    def start(
        self, name: str, config: Path, work_dir: Path, options: Dict[str, Any]
    ) -> Future[Tuple[float, float]]:
        """Queue the training of one arm; see :meth:`_train` for what it gives."""
        return self._pool.submit(self._train, name, config, work_dir, options)

    def __enter__(self) -> Trainings:
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        if kind is not None:
            # A training that goes on alone would be of no use to anyone.
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in self._running:
                process.terminate()
        self._pool.shutdown()

    def _train(
        self, name: str, config: Path, work_dir: Path, options: Dict[str, Any]
    ) -> Tuple[float, float]:
        """Train one arm through ``tools/train.py``.

        Returns:
            Wall-clock and processor time in seconds, start-up and validation included.
        """
        command = [sys.executable, str(ROOT / "tools" / "train.py"), str(config)]
        command += ["--work-dir", str(work_dir), "--cfg-options"]
        command += [f"{key}={value}" for key, value in options.items()]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = dict(os.environ, PYTHONPATH=path)
        environment["OMP_NUM_THREADS"] = str(self.threads)
        log = work_dir / "train.log"
        start = time.perf_counter()
        with log.open("w") as file, subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        ) as process:
            self._running.append(process)
            assert process.stdout is not None
            for line in process.stdout:
                file.write(line)
                if "Epoch(val)" in line and "accuracy" in line:
                    epoch = line.split("Epoch(val)")[1].split("[")[1].split("]")[0]
                    value = float(line.split("accuracy/top1:")[1].split()[0])
                    say(f"      {name}, epoch {epoch}: top-1 {value:.1f} %")
            # Of this child and what it has waited for, not of its neighbour.
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self._running.remove(process)
        wall_clock = time.perf_counter() - start
        if process.returncode != 0:
            last = [line for line in log.read_text().splitlines() if line.strip()][-1:]
            raise DemoError(
                f"training {config.name} failed with exit code {process.returncode}: "
                f"{''.join(last)} (all of it: {log})"
            )
        return wall_clock, used.ru_utime + used.ru_stime


def validation_curve(work_dir: Path) -> List[Tuple[int, float]]:
    """``(epoch, top-1)`` of the validations, from MMEngine's JSON log."""
    logs = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not logs:
        raise DemoError(f"{work_dir} has no vis_data/scalars.json: remove it and rerun")
    records = (json.loads(line) for line in logs[-1].read_text().splitlines())
    return [
        (int(record["step"]), float(record["accuracy/top1"]))
        for record in records
        if "accuracy/top1" in record
    ]


def build_model(cfg: Any) -> Any:
    from mmengine.registry import MODELS

    model = dict(cfg.model)
    model.setdefault("data_preprocessor", cfg.get("data_preprocessor"))
    return MODELS.build(model)


def run_plan(cfg: Any) -> List[List[Tuple[int, int, int]]]:
    """What the training of ``cfg`` runs, epoch by epoch."""
    from mmengine.registry import HOOKS
    from mmengine.runner import Runner

    from mms_plugin.analysis import fixed_size_plan, training_plan

    loader = Runner.build_dataloader(
        {**cfg.train_dataloader, "num_workers": 0, "persistent_workers": False},
        seed=cfg.randomness.seed,
    )
    max_epochs = cfg.train_cfg.max_epochs
    if "batch_sampler" not in cfg.train_dataloader:
        size = (BASE_SIZE, BASE_SIZE)
        plan = fixed_size_plan(len(loader.dataset), loader.batch_size, size)
        return [plan] * max_epochs
    curriculum = None
    for hook in cfg.get("custom_hooks", []):
        if hook["type"] == "ResolutionCurriculumHook":
            curriculum = HOOKS.build(hook).curriculum
    return training_plan(loader.batch_sampler, max_epochs, curriculum)


def count_sizes(cfg: Any, plan: List[List[Tuple[int, int, int]]]) -> Dict[Any, float]:
    """Training FLOPs of an image at each size of the plan, on the real model."""
    import torch
    from mmpretrain.structures import DataSample

    from mms_plugin.analysis import training_flops_per_image

    def make_batch(batch_size: int, height: int, width: int) -> Dict[str, Any]:
        return dict(
            inputs=torch.zeros(batch_size, 3, height, width),
            data_samples=[DataSample().set_gt_label(0) for _ in range(batch_size)],
        )

    sizes = sorted({(height, width) for epoch in plan for height, width, _ in epoch})
    return training_flops_per_image(build_model(cfg), make_batch, sizes)


def evaluate(cfg: Any, checkpoint: Path, sizes: Sequence[int]) -> Dict[int, float]:
    """Top-1 in percent of a checkpoint by test size."""
    import copy

    import torch
    from mmengine.evaluator import Evaluator
    from mmengine.runner import Runner, load_checkpoint

    model = build_model(cfg)
    load_checkpoint(model, str(checkpoint), map_location="cpu", logger="silent")
    model.eval()
    result = {}
    for size in sizes:
        loader_cfg = copy.deepcopy(cfg.test_dataloader)
        loader_cfg.update(persistent_workers=False)
        for transform in loader_cfg.dataset.pipeline:
            if transform["type"] == "Resize":
                transform["scale"] = size
        loader = Runner.build_dataloader(loader_cfg)
        evaluator = Evaluator(copy.deepcopy(cfg.test_evaluator))
        with torch.no_grad():
            for batch in loader:
                evaluator.process(model.test_step(batch), batch)
        result[size] = float(evaluator.evaluate(len(loader.dataset))["accuracy/top1"])
    return result


class _Arm:
    """One arm on its way: found complete, or training."""

    def __init__(
        self,
        name: str,
        config: Path,
        args: argparse.Namespace,
        manifest: str,
        trainings: Trainings,
    ) -> None:
        from mmengine.registry import init_default_scope

        self.name, self.config, self.args = name, config, args
        options = config_options(args)
        self.cfg = load_config(config, options)
        init_default_scope(self.cfg.default_scope)
        self.key = fingerprint(self.cfg, manifest + repr(args.test_sizes))
        self.work_dir = Path(args.work_dir) / config.stem
        self.done = self.work_dir / "arm.json"
        self.found: Optional[report.Arm] = None
        if self.done.exists():
            state = json.loads(self.done.read_text())
            if state["fingerprint"] == self.key:
                say(f"      {name}: already trained, {self.work_dir}")
                self.found = report.arm_from_json(json.dumps(state["arm"]))
                return
        shutil.rmtree(self.work_dir, ignore_errors=True)
        self.work_dir.mkdir(parents=True)
        self.training = trainings.start(name, config, self.work_dir, options)

    def result(self) -> report.Arm:
        """Wait for the training, evaluate, and keep what it gave."""
        from mmengine.runner.checkpoint import CheckpointLoader

        from mms_plugin.analysis import plan_flops

        if self.found is not None:
            return self.found
        wall_clock, cpu_time = self.training.result()
        plan = run_plan(self.cfg)
        checkpoint = Path((self.work_dir / "last_checkpoint").read_text().strip())
        saved = CheckpointLoader.load_checkpoint(str(checkpoint), map_location="cpu")
        planned = sum(len(epoch) for epoch in plan)
        if saved["meta"]["iter"] != planned:
            raise DemoError(
                f"{self.name} ran {saved['meta']['iter']} iterations, but its plan has "
                f"{planned}: the report would be wrong"
            )
        flops = count_sizes(self.cfg, plan)
        sizes = ", ".join(map(str, self.args.test_sizes))
        say(f"      {self.name}: evaluating at sizes {sizes}")
        arm = report.Arm(
            name=self.name,
            config=str(self.config.relative_to(ROOT)),
            epochs=self.cfg.train_cfg.max_epochs,
            plan=plan,
            train_flops=[plan_flops(epoch, flops) for epoch in plan],
            wall_clock=wall_clock,
            cpu_time=cpu_time,
            metric_by_size=evaluate(self.cfg, checkpoint, self.args.test_sizes),
            curve=validation_curve(self.work_dir),
        )
        state = dict(fingerprint=self.key, arm=json.loads(report.arm_to_json(arm)))
        report.write_text(self.done, json.dumps(state))
        return arm


# -------------------------------------------------------------------- the pictures


def batches_by_size(cfg: Any) -> List[Any]:
    """One real batch of every size, as the last epoch of the training loads it."""
    import numpy as np
    from mmengine.runner import Runner

    loader = Runner.build_dataloader(
        {**cfg.train_dataloader, "num_workers": 0, "persistent_workers": False},
        seed=cfg.randomness.seed,
    )
    batch_sampler = loader.batch_sampler
    batch_sampler.set_epoch(cfg.train_cfg.max_epochs - 1)
    chosen: Dict[Tuple[int, int], List[Any]] = {}
    for batch in batch_sampler:
        size = batch[0].size
        if len(batch) > len(chosen.get(size, [])):
            chosen[size] = batch
    images = []
    for _, batch in sorted(chosen.items()):
        samples = [loader.dataset[index]["inputs"] for index in batch]
        # CHW, BGR as mmcv loads it.
        images.append(np.stack([s.numpy()[::-1].transpose(1, 2, 0) for s in samples]))
    return images


def draw_pictures(
    task: report.Task, content: Dict[str, Any], folder: Path, cfg: Any
) -> None:
    from mms_plugin.analysis import pictures

    arms = content["arms"]
    pictures.draw_plans(
        {arm.name: [item for epoch in arm.plan for item in epoch] for arm in task.arms},
        folder / f"{task.name}_sizes.png",
        "Size of every batch over the training",
    )
    pictures.draw_lines(
        {
            arm["name"]: [
                (point["train_flops"] / 1e12, point["metric"]) for point in arm["curve"]
            ]
            for arm in arms
        },
        folder / f"{task.name}_metric_over_flops.png",
        f"Validation at {task.base_size} px over the compute spent",
        "training FLOPs so far (TFLOPs, forward and backward)",
        task.metric,
    )
    pictures.draw_lines(
        {
            arm.name: [(size, value) for size, value in arm.metric_by_size.items()]
            for arm in task.arms
        },
        folder / f"{task.name}_test_sizes.png",
        "Trained models at several test sizes",
        "test image side (px)",
        task.metric,
    )
    pictures.draw_contact_sheet(
        batches_by_size(cfg),
        folder / f"{task.name}_batches.png",
        "One augmented training batch of each size, to scale",
    )


def classification(args: argparse.Namespace, folder: Path) -> report.Task:
    manifest = (folder / "scenes" / "manifest.json").read_text()
    configs = ROOT / "configs" / "demo"
    say("[2/3] training three arms at once, usually 5 min on two cores")
    with Trainings(JOBS) as trainings:
        under_way = [
            _Arm(name, configs / file, args, manifest, trainings) for name, file in ARMS
        ]
        arms = [arm.result() for arm in under_way]
    share = arms[0].metric_by_size[BASE_SIZE] / 100
    standard_error = 100 * (2 * share * (1 - share) / args.val_images) ** 0.5
    name = "classification"
    return report.Task(
        name=name,
        metric=METRIC,
        base_size=BASE_SIZE,
        arms=arms,
        note=(
            f"A narrow ResNet-18 from scratch on {args.train_images:,} images of the "
            f"built-in scenes (12 classes: 4 shapes times 3 textures), "
            f"{args.val_images:,} to validate on. One seed: {args.seed}; by the "
            f"number of validation images alone, the difference of two arms has a "
            f"standard error of about {standard_error:.1f} points."
        ),
        pictures={
            f"{name}_metric_over_flops.png": f"{METRIC} over cumulated training FLOPs",
            f"{name}_sizes.png": "Size of every batch over the training",
            f"{name}_test_sizes.png": f"{METRIC} by test size",
            f"{name}_batches.png": "One augmented training batch of each size",
        },
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
    # Threads that spin while they wait take the cores from the data's workers: on two
    # busy cores an iteration took 20 times as long. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    import torch
    from mmengine.logging import MMLogger

    from mms_plugin.datasets.scenes import SceneParameters, write_scenes

    # What the libraries tell about each config and checkpoint hides our own lines.
    MMLogger.get_current_instance().setLevel("WARNING")
    say("[1/3] drawing the built-in data, usually 20 s")
    parameters = SceneParameters(
        seed=args.seed,
        train_images=args.train_images,
        val_images=args.val_images,
        det_train_images=args.det_images[0],
        det_val_images=args.det_images[1],
    )
    write_scenes(folder / "scenes", parameters, log=say)
    tasks = [classification(args, folder)]
    say("[3/3] report and pictures")
    about = dict(
        command=" ".join(["tools/demo/run.py", *argv]),
        python=platform.python_version(),
        torch=torch.__version__,
        device=f"CPU, {os.cpu_count()} cores",
        training=f"{JOBS} arms at a time, {Trainings(JOBS).threads} thread(s) each",
        seed=args.seed,
    )
    content = report.assemble(tasks, about)
    cfg = load_config(ROOT / "configs" / "demo" / ARMS[-1][1], config_options(args))
    draw_pictures(tasks[0], content["tasks"]["classification"], folder, cfg)
    report.write_report(folder, content)
    say(f"done in {time.perf_counter() - start:.0f} s: {folder / 'report.md'}")
    return content


if __name__ == "__main__":
    # A training that goes on alone would be of no use to anyone.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted: call it again to go on from the last arm that was complete")
        sys.exit(130)
    except (DemoError, ValueError) as error:
        say(f"error: {error}")
        sys.exit(1 if isinstance(error, DemoError) else 2)
