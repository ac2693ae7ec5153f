"""What AGVM costs: time, memory and traffic against plain DDP, in one run.

Several gloo processes train a ResNet of mmpretrain on random images. Plain
``OptimWrapper`` and ``AGVMOptimWrapper`` take turns iteration by iteration, so that
whatever else the machine does hits both. Memory is the peak of processes that train
one of them alone.

    python tools/benchmarks/agvm_overhead.py --iterations 200
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from tools.smoke import smoke_arguments

SGD = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)
ADAMW = dict(type="AdamW", lr=1e-4, weight_decay=0.05)


def _setup(args: argparse.Namespace, recipe: str) -> Any:
    from mmengine.model import MMDistributedDataParallel
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import DefaultScope
    from mmpretrain.models import ImageClassifier

    import mms_plugin  # noqa: F401

    logging.disable(logging.WARNING)
    torch.manual_seed(0)
    head = dict(type="LinearClsHead", num_classes=100, in_channels=512)
    if args.depth >= 50:
        head["in_channels"] = 2048
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model: torch.nn.Module = ImageClassifier(
            backbone=dict(type="ResNet", depth=args.depth),
            neck=dict(type="GlobalAveragePooling"),
            head=head,
        )
    if args.world_size > 1:
        model = MMDistributedDataParallel(model, broadcast_buffers=False)
    config: Dict[str, Any] = dict(
        type="OptimWrapper", optimizer=ADAMW if args.optimizer == "AdamW" else SGD
    )
    if recipe == "agvm":
        config.update(
            type="AGVMOptimWrapper",
            constructor="AGVMOptimWrapperConstructor",
            agvm=dict(interval=args.interval, start_iter=args.interval),
        )
    wrapper = build_optim_wrapper(model, config)
    wrapper.initialize_count_status(model, 0, 10**9)
    return model, wrapper


def _data(args: argparse.Namespace) -> Dict[str, Any]:
    from mmpretrain.structures import DataSample

    images = torch.randn(args.batch_size, 3, args.size, args.size)
    samples = [DataSample().set_gt_label(i % 100) for i in range(args.batch_size)]
    return dict(inputs=images, data_samples=samples)


def _iterate(
    model: Any, wrapper: Any, data: Dict[str, Any], args: argparse.Namespace
) -> Tuple[float, float]:
    """Seconds on the wall, and of this process on the CPU."""
    if args.world_size > 1:
        dist.barrier()
    start, cpu = time.perf_counter(), time.process_time()
    with wrapper.optim_context(model):
        losses = model(**data, mode="loss")
    wrapper.update_params(sum(losses.values()))
    if args.world_size > 1:
        dist.barrier()
    return time.perf_counter() - start, time.process_time() - cpu


def _rank(rank: int, args: argparse.Namespace, recipes: List[str], path: str) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    if args.world_size > 1:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{path}.store",
            rank=rank,
            world_size=args.world_size,
        )
    arms = {recipe: _setup(args, recipe) for recipe in recipes}
    data = _data(args)
    times: Dict[str, List[Tuple[float, float]]] = {recipe: [] for recipe in recipes}
    draw = random.Random(0)  # the same on every rank
    for _ in range(args.interval + args.iterations):  # the first warm up
        # Who goes first is drawn, so that neither has the caches to itself.
        for recipe in draw.sample(recipes, len(recipes)):
            model, wrapper = arms[recipe]
            times[recipe].append(_iterate(model, wrapper, data, args))
    result: Dict[str, Any] = dict(
        times={recipe: values[args.interval :] for recipe, values in times.items()},
        peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        gradients=sum(
            p.numel() * p.element_size() for p in arms[recipes[0]][0].parameters()
        ),
    )
    if "agvm" in arms:
        wrapper = arms["agvm"][1]
        result["extra"] = getattr(wrapper.halves_source, "bytes_sent_extra", 0)
        result["measured"] = wrapper.agvm.num_measured
    with open(f"{path}.{rank}.json", "w") as file:
        json.dump(result, file)
    if args.world_size > 1:
        dist.barrier()
        dist.destroy_process_group()


def _run(args: argparse.Namespace, recipes: List[str]) -> List[Dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "-".join(recipes))
        # Ranks are forked from a process that has imported these, and nothing more.
        multiprocessing.set_forkserver_preload(["mmpretrain.models", "mms_plugin"])
        mp.start_processes(  # type: ignore[attr-defined]
            _rank, (args, recipes, path), args.world_size, start_method="forkserver"
        )
        results = []
        for rank in range(args.world_size):
            with open(f"{path}.{rank}.json") as file:
                results.append(json.load(file))
    return results


def _ratios(times: Dict[str, Any], column: int, interval: int) -> Dict[str, float]:
    """Medians of AGVM's iterations over the plain ones that they took turns with."""
    pairs = [(a[column], p[column]) for a, p in zip(times["agvm"], times["plain"])]
    measured = [a / p for i, (a, p) in enumerate(pairs) if i % interval == 0]
    others = [a / p for i, (a, p) in enumerate(pairs) if i % interval]
    # With an interval of 1 there are no others.
    ratios = [statistics.median(values) for values in (measured, others or measured)]
    return dict(
        plain_seconds=statistics.median(p for _, p in pairs),
        measured_ratio=ratios[0],
        not_measured_ratio=ratios[1],
        mean_ratio=(ratios[0] + (interval - 1) * ratios[1]) / interval,
    )


def measure(args: argparse.Namespace) -> Dict[str, Any]:
    """Measure times, peaks and bytes, and their ratios to plain DDP."""
    both = _run(args, ["plain", "agvm"])
    alone = {recipe: _run(args, [recipe]) for recipe in ("plain", "agvm")}
    clocks = {
        clock: _ratios(both[0]["times"], column, args.interval)
        for column, clock in enumerate(("wall", "cpu"))
    }
    gradients = both[0]["gradients"]
    measured = max(1, both[0]["measured"])
    peaks = {name: max(r["peak"] for r in ranks) for name, ranks in alone.items()}
    size = args.world_size
    return dict(
        settings=vars(args),
        **clocks,
        gradient_bytes=gradients,
        peak_bytes=peaks,
        extra_peak_over_gradients=(peaks["agvm"] - peaks["plain"]) / gradients,
        bytes_into_collectives_per_rank=dict(
            ddp_every_iteration=gradients if size > 1 else 0,
            agvm_extra_when_measured=[r["extra"] / measured for r in both],
            # It gathers every full gradient once more, after its own reduction.
            released_code_extra_when_measured=[gradients if size > 1 else 0] * size,
        ),
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world-size", type=int, default=2, help="gloo processes")
    parser.add_argument("--interval", type=int, default=10, help="AGVM's interval")
    parser.add_argument("--iterations", type=int, default=200, help="timed, of each")
    parser.add_argument("--depth", type=int, default=18, help="of the ResNet")
    parser.add_argument("--batch-size", type=int, default=8, help="images per rank")
    parser.add_argument("--size", type=int, default=128, help="side of the images")
    parser.add_argument("--optimizer", choices=["SGD", "AdamW"], default="SGD")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    args = parser.parse_args(
        smoke_arguments(
            parser,
            None,
            lambda _: [
                "--iterations",
                "4",
                "--interval",
                "2",
                "--batch-size",
                "2",
                "--size",
                "32",
            ],
        )
    )
    for name in ("world_size", "interval", "iterations", "batch_size", "size"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    result = measure(args)
    if args.json:
        print(json.dumps(result, indent=2))
        return
    for key, value in result.items():
        print(f"{key}: {json.dumps(value)}")


if __name__ == "__main__":
    main()
