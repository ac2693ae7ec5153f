"""Multi-scale in longer trainings: compute, accuracy, calibration.

Small models learn from scratch at a fixed size (SSc-FBS), with the library's own scale
jitter, at many sizes (MSc-FBS, MSc-VBS), with the curriculum (MSc-VBSWC), and at a
fixed size for the curriculum's compute; then what is changed one by one, and other
libraries' schedules. Tasks: ``detection`` (Faster R-CNN on drawn scenes),
``classification`` (ResNet-18 on caltech20), ``nuclei`` (Mask R-CNN) and
``classification-swin``. Each arm leaves one JSON file; an arm that has one is not
trained again, and one that was cut off continues from its last checkpoint. Start it
twice to use two cores.

    python tools/benchmarks/multi_scale.py --data-root DIR --list
    python tools/benchmarks/multi_scale.py --data-root DIR
    python tools/benchmarks/multi_scale.py --data-root DIR --only 'detection_*'
    python tools/benchmarks/multi_scale.py --report
    python tools/benchmarks/multi_scale.py --smoke
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

ROOT = Path(__file__).resolve().parents[2]
# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(ROOT))

from lab.arguments import arm_parser, parse_arm_arguments  # noqa: E402


def parse_args(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = arm_parser(__doc__, "multi_scale")
    parser.add_argument(
        "--data-root",
        type=Path,
        default=ROOT.parent / "shared" / "data",
        metavar="DIR",
        help="folder of caltech20 and nuclei; without it these tasks are left out",
    )
    return parse_arm_arguments(parser, arguments)


def main() -> None:
    """Entry point."""
    args = parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.smoke:
        smoke(args)
    elif args.list:
        list_arms(args)
    elif args.report:
        report(args)
    else:
        run(args)


def planned_arms(tasks: Mapping[str, Any], seeds: int, only: str) -> List[Dict]:
    """Return the arms that are asked for, and those whose weights they reuse.

    Args:
        tasks: Tasks by name.
        seeds: Number of seeds, from 0 on.
        only: Pattern of the arms' names.
    """
    from size_lab.arms import all_arms, order_runs

    sides = {name: task.sides for name, task in tasks.items()}
    arms = []
    for task, arm, seed in order_runs(sides, range(seeds)):
        parent = all_arms(sides[task])[arm].trained_as
        arms.append(
            dict(
                name=arm_name(task, arm, seed),
                task=task,
                arm=arm,
                seed=seed,
                after=parent and arm_name(task, parent, seed),
            )
        )
    wanted = {arm["name"] for arm in arms if fnmatch.fnmatch(arm["name"], only)}
    wanted |= {arm["after"] for arm in arms if arm["name"] in wanted}
    return [arm for arm in arms if arm["name"] in wanted]


def arm_name(task: str, arm: str, seed: int) -> str:
    """Return the name of a training, which is also that of its files."""
    from size_lab.training import folder_name

    return f"{task}_{folder_name(arm)}_seed{seed}"


def list_arms(args: argparse.Namespace) -> None:
    """Print the arms and how far they are."""
    from lab.arms import ArmStore
    from size_lab.tasks import tasks

    store = ArmStore(args.results, args.work_dir)
    done = {result["name"]: result for result in store.results()}
    arms = planned_arms(tasks(), args.seeds, args.only)
    for arm in arms:
        result = done.get(arm["name"])
        state = "pending" if result is None else f"{result['value']:.1f} %"
        print(f"{state:>8}  {arm['name']}")
    finished = sum(arm["name"] in done for arm in arms)
    print(f"{finished} of {len(arms)} arms are done.", file=sys.stderr)


def run(args: argparse.Namespace) -> None:
    """Train all arms that are pending and whose data is there."""
    from lab.arms import tell
    from size_lab.tasks import tasks

    found = {}
    for name, task in tasks().items():
        try:
            task.check_data(args.data_root)
        except ValueError as error:
            tell(f"{name} is left out: {error}")
            continue
        found[name] = task
    arms = planned_arms(found, args.seeds, args.only)
    if not arms:
        raise SystemExit(
            f"--only must match an arm (see --list), but got {args.only!r}."
        )
    finished = work(args, found, arms)
    tell(f"{finished} arms trained; nothing is pending.")


def work(
    args: argparse.Namespace, tasks: Mapping[str, Any], arms: Sequence[Dict]
) -> int:
    """Train arms, each after the one whose weights it reuses; return their number.

    An arm that fails is told with its traceback and left out, for the others to go
    on.

    Raises:
        SystemExit: Arms have failed, after all others are done.
    """
    from lab.arms import ArmStore, git_commit, tell, work_through
    from size_lab.arms import all_arms
    from size_lab.training import Places, run_arm

    store = ArmStore(args.results, args.work_dir)
    places = Places(args.data_root.resolve(), store.work_dir)
    commit = git_commit(ROOT)
    finished = 0

    def plan(results: Sequence[Mapping[str, Any]]) -> List[Dict]:
        done = {result["name"] for result in results}
        return [arm for arm in arms if not arm["after"] or arm["after"] in done]

    def train(arm: Dict, folder: Path) -> Dict[str, Any]:
        nonlocal finished
        task = tasks[arm["task"]]
        spec = all_arms(task.sides)[arm["arm"]]
        try:
            result = run_arm(task, spec, arm["seed"], places)
        except Exception:
            traceback.print_exc()
            raise
        finished += 1
        tell(
            f"{arm['name']}: {result['metric']} {result['value']:.1f} %, "
            f"{result['iterations']} iterations, "
            f"{result['train_cpu_seconds']:.0f} s of processor time"
        )
        return dict(
            name=arm["name"],
            **result,
            commit=commit,
            command=f"python tools/benchmarks/multi_scale.py --only {arm['name']}",
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )

    try:
        work_through(store, plan, train)
    except RuntimeError as error:  # all others are done
        store.assemble(about())
        raise SystemExit(str(error)) from error
    store.assemble(about())
    return finished


def about() -> Dict[str, Any]:
    """Return what the assembled results say of themselves."""
    return dict(
        benchmark="multi_scale",
        command="python tools/benchmarks/multi_scale.py",
        value="percent at the base size, after the last iteration",
        by_size="percent by side of the test images in pixels",
        corrupted="percent at the base size, mean over corrupted_by, at severity",
        train_flops="forward and backward, counted on the trained model",
        train_seconds="wall-clock of the training iterations; cores were shared",
        train_cpu_seconds="processor time of the training iterations, one thread",
        curve="[epoch, train_flops so far, percent at the base size]",
    )


def report(args: argparse.Namespace) -> None:
    """Assemble the results and write the page with its figures."""
    from lab.arms import ArmStore
    from size_lab.page import write_page

    store = ArmStore(args.results, args.work_dir)
    store.assemble(about())
    write_page(store.results(), args.page, args.seeds)
    print(f"{args.page} and its figures are written.", file=sys.stderr)


def smoke(args: argparse.Namespace) -> None:
    """Train a few arms on made images in a temporary folder and write the page."""
    import json

    from size_lab.tasks import tasks

    from tools.demo.scenes import SceneParameters, write_scenes

    arms = ("SSc-FBS", "SSc-FBS jitter", "MSc-VBSWC", "MSc-VBSWC precise BN")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        args = argparse.Namespace(
            data_root=folder / "data",
            results=folder / "multi_scale",
            work_dir=folder / "work",
            page=folder / "multi_scale.md",
            seeds=1,
        )
        write_scenes(
            args.data_root,
            SceneParameters(
                train_images=24,
                val_images=8,
                image_size=48,
                det_train_images=0,
                det_val_images=0,
            ),
        )
        small = tasks(small=True)
        planned = planned_arms(small, 1, "*")
        work(args, small, [arm for arm in planned if arm["arm"] in arms])
        report(args)
        results = json.loads((folder / "multi_scale.json").read_text())
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
