"""Large batches with and without AGVM: a fair sweep of rates on drawn scenes.

A small Faster R-CNN learns drawn scenes from scratch at batches 16, 64, 256 and 1024
with SGD, AdamW and LAMB, plain and with AGVM, at rates a factor of 2 apart. The grid
grows where the best rate lies at its end; three seeds, ablations and other models
follow at the best rates, and a sweep with a backbone that was trained before, at batch
16 on other scenes. Each arm leaves one JSON file; an arm that has one is not trained
again, and one that was cut off continues from its last checkpoint. Start it twice to
use two cores.

    python tools/benchmarks/large_batch.py --list
    python tools/benchmarks/large_batch.py
    python tools/benchmarks/large_batch.py --only 'faster-rcnn_sgd_b256_*'
    python tools/benchmarks/large_batch.py --report
    python tools/benchmarks/large_batch.py --smoke
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import fnmatch
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab.arguments import arm_parser, parse_arm_arguments

ROOT = Path(__file__).resolve().parents[2]


def parse_args(arguments: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = arm_parser(__doc__, "large_batch")
    parser.add_argument("--rank-arm", type=Path, help=argparse.SUPPRESS)
    return parse_arm_arguments(parser, arguments)


def main() -> None:
    """Entry point."""
    args = parse_args()
    # For the commands that only read results, torch and mmdet are not needed.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if args.rank_arm:
        train_as_rank(args)
    elif args.smoke:
        smoke(args)
    elif args.list:
        list_arms(args)
    elif args.report:
        report(args, args.results, args.page)
    else:
        run(args)


def list_arms(args: argparse.Namespace) -> None:
    """Print the arms that follow from the results so far."""
    from agvm_lab import grid
    from lab.arms import ArmStore

    store = ArmStore(args.results, args.work_dir)
    done = {result["name"]: result for result in store.results()}
    arms = [
        arm
        for arm in grid.plan(list(done.values()), args.seeds)
        if fnmatch.fnmatch(arm["name"], args.only)
    ]
    for arm in arms:
        result = done.get(arm["name"])
        state = "pending"
        if result is not None:
            state = "diverged" if result["diverged"] else f"AP {result['ap']:.1f}"
        print(f"{state:>10}  {arm['name']}")
    finished = sum(arm["name"] in done for arm in arms)
    print(
        f"{finished} of {len(arms)} arms are done; further ones follow from results.",
        file=sys.stderr,
    )


def report(args: argparse.Namespace, results: Path, page: Path) -> None:
    """Assemble the results and write the page with its figures."""
    from agvm_lab.page import write_page
    from lab.arms import ArmStore

    store = ArmStore(results, args.work_dir)
    store.assemble(about())
    write_page(store.results(), page, args.seeds)
    print(f"{page} and its figures are written.", file=sys.stderr)


def about() -> Dict[str, Any]:
    """Return what the assembled results say of themselves."""
    from agvm_lab.protocol import Protocol

    return dict(
        benchmark="large_batch",
        command="python tools/benchmarks/large_batch.py",
        protocol=Protocol().to_dict(),
        data="scenes of tools.demo.scenes, drawn by tools/benchmarks/lab",
        ap="percent, COCO's box AP on the validation scenes (mask-rcnn: mask_ap too; "
        "panoptic-fpn: panoptic quality)",
        train_seconds="wall-clock of the training iterations; cores were shared",
    )


def run(args: argparse.Namespace) -> None:
    """Train all arms that are pending."""
    from agvm_lab import grid
    from agvm_lab.protocol import Protocol
    from lab.arms import ArmStore, tell, work_through

    store = ArmStore(args.results, args.work_dir)
    trainer = Trainer(Protocol(), args.work_dir)

    def train(arm: Dict[str, Any], folder: Path) -> Dict[str, Any]:
        result = trainer(arm, folder)
        tell(f"{arm['name']}: AP {result['ap']}, {result['images_per_second']:.0f}/s")
        return result

    finished = work_through(
        store,
        lambda results: grid.plan(results, args.seeds),
        train,
        lambda arm: fnmatch.fnmatch(arm["name"], args.only),
        lambda: store.assemble(about()),
    )
    tell(f"{finished} arms trained; nothing is pending.")


def smoke(args: argparse.Namespace) -> None:
    """Train a few arms of a few images in a temporary folder and write the page."""
    from agvm_lab import grid
    from agvm_lab.protocol import SMOKE
    from lab.arms import ArmStore, work_through

    first = [
        grid.make_arm("adamw", 4, True, 1e-3),
        grid.make_arm("sgd", 4, False, 1e6),
    ]

    def plan(results: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
        done = {result["name"]: result for result in results}
        arms = list(first)
        if first[0]["name"] in done:
            multipliers = done[first[0]["name"]]["mean_multipliers"]
            arms.append(
                grid.make_arm(
                    "lamb", 4, False, 1e-3, variant="fixed", multipliers=multipliers
                )
            )
        return arms

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = ArmStore(folder / "large_batch", folder / "work")
        work_through(store, plan, Trainer(SMOKE, folder / "work"))
        args = argparse.Namespace(**{**vars(args), "work_dir": folder / "work"})
        report(args, store.results_dir, folder / "large_batch.md")
        results = store.results()
    print(json.dumps(dict(arms=results), indent=1))


class Trainer:
    """Trains arms under one protocol.

    Args:
        protocol: What all arms share.
        work_dir: Where the scenes are drawn.
    """

    def __init__(self, protocol: Any, work_dir: Path) -> None:
        import torch

        import mms_plugin  # noqa: F401

        torch.set_num_threads(1)
        self.protocol = protocol
        self.work_dir = work_dir

    def draw(self, split: str, seed: int = 0) -> Path:
        """Return the folder of the scenes of a split, drawn unless they are there."""
        from lab.scenes import draw

        counts = dict(train=self.protocol.train_images, val=self.protocol.val_images)
        side = self.protocol.side
        folder = self.work_dir / "scenes"
        return draw(folder, "detection", split, counts[split], side, seed)

    def config(self, arm: Dict[str, Any]) -> Dict[str, Any]:
        """Return the arguments of the arm's runner."""
        from agvm_lab.config import runner_config

        settings = arm["settings"]
        backbone = self.backbone() if settings.get("pretrained") else None
        scenes = self.draw("train", settings.get("scenes_seed", 0)), self.draw("val")
        return runner_config(arm, self.protocol, *scenes, backbone)

    def backbone(self) -> Path:
        """Return a checkpoint of a detector, trained at batch 16 on other scenes.

        It is trained once, by whichever process needs it first.
        """
        from agvm_lab.grid import PRETRAINING
        from lab.arms import tell

        folder = self.work_dir.resolve() / PRETRAINING["name"]
        folder.mkdir(parents=True, exist_ok=True)
        images = self.protocol.epochs * self.protocol.train_images
        last = images // self.protocol.micro(PRETRAINING["batch"])
        path = folder / f"iter_{last}.pth"
        with open(folder / "pretraining.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                metrics = self.train(PRETRAINING, folder).metrics
                tell(f"pre-training: AP {percent(metrics, 'coco/bbox_mAP')}")
        return path

    def train(self, arm: Dict[str, Any], folder: Path) -> Any:
        """Train an arm in this process, as one of its ranks if it has several."""
        from lab.training import train

        # pycocotools prints its tables.
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            return train(self.config(arm), folder)

    def train_on_ranks(self, arm: Dict[str, Any], folder: Path, ranks: int) -> Any:
        """Train an arm on several processes and return the outcome of all."""
        from lab.arms import write_json
        from lab.ranks import run_on_ranks
        from lab.training import Outcome

        outcomes = [folder / f"outcome.rank{rank}.json" for rank in range(ranks)]
        for path in outcomes:
            path.unlink(missing_ok=True)
        order = dict(arm=arm, protocol=self.protocol.to_dict())
        write_json(order, folder / "order.json")
        command = [sys.executable, str(Path(__file__).resolve())]
        command += ["--work-dir", str(self.work_dir)]
        command += ["--rank-arm", str(folder / "order.json")]
        run_on_ranks(command, ranks)
        parts = [json.loads(path.read_text()) for path in outcomes if path.exists()]
        # A rank whose loss explodes leaves the others behind.
        part = next((part for part in parts if part["diverged"]), parts[0])
        sums = {key: ranks * part[key] for key in ("images", "cpu_seconds")}
        return Outcome(**{**part, **sums})

    def __call__(self, arm: Dict[str, Any], folder: Path) -> Dict[str, Any]:
        """Train an arm, or continue it, and return its result."""
        from agvm_lab.config import arm_epochs
        from lab.arms import git_commit
        from lab.training import mean_by_module

        config = self.config(arm)
        ranks = arm["settings"].get("ranks", 1)
        if ranks > 1:
            outcome = self.train_on_ranks(arm, folder, ranks)
        else:
            outcome = self.train(arm, folder)
        metrics = outcome.metrics
        panoptic = arm["model"] == "panoptic-fpn"
        metric = "scenes/PQ" if panoptic else "coco/bbox_mAP"
        result = dict(
            arm,
            epochs=arm_epochs(arm, self.protocol),
            updates=outcome.updates,
            ap=percent(metrics, metric),
            metric=metric,
            ap_50=percent(metrics, "coco/bbox_mAP_50"),
            ap_75=percent(metrics, "coco/bbox_mAP_75"),
            diverged=outcome.diverged,
            agvm_args=config["optim_wrapper"].get("agvm"),
            mean_multipliers=mean_by_module([part["mu"] for part in outcome.agvm]),
            measured=outcome.agvm,
            loss=outcome.loss,
            images=outcome.images,
            train_seconds=outcome.train_seconds,
            cpu_seconds=outcome.cpu_seconds,
            images_per_second=outcome.images / max(outcome.cpu_seconds, 1e-9),
            commit=git_commit(ROOT),
            command=f"python tools/benchmarks/large_batch.py --only {arm['name']}",
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
            finished=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )
        if arm["model"] == "mask-rcnn":
            result["mask_ap"] = percent(metrics, "coco/segm_mAP")
        return result


def train_as_rank(args: argparse.Namespace) -> None:
    """Be one rank of an arm that trains on several processes."""
    import dataclasses

    from agvm_lab.protocol import Protocol
    from lab.arms import write_json
    from lab.ranks import join

    rank = join()
    order = json.loads(args.rank_arm.read_text())
    trainer = Trainer(Protocol(**order["protocol"]), args.work_dir)
    folder = args.rank_arm.parent
    outcome = trainer.train(order["arm"], folder)
    write_json(dataclasses.asdict(outcome), folder / f"outcome.rank{rank}.json")
    sys.stderr.flush()
    os._exit(0)  # gloo's threads may wait for a rank that is gone


def percent(metrics: Dict[str, float], name: str) -> float:
    """Return a metric in percent; 0 if it is missing, as after a divergence."""
    return round(100 * max(0.0, metrics.get(name, 0.0)), 2)


if __name__ == "__main__":
    main()
