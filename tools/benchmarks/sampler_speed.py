"""Time and memory of one epoch of indices: ours against MMEngine's and torch's own.

Each is run in a process of its own, in turn, and the medians are compared: the ratio
holds where the machine's speed drifts.

    python tools/benchmarks/sampler_speed.py --num-samples 1281167
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Dict, List

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.smoke import smoke_arguments

ARMS = ("baseline", "ours", "ours-curriculum")


def measure(arm: str, num_samples: int, batch_size: int) -> Dict[str, float]:
    """Iterate one epoch in this process.

    Returns:
        ``seconds`` of the epoch, ``peak_mib`` of the process's memory beyond what it
        had before, ``iterations``.
    """
    import gc
    import resource
    import time

    import torch
    from mmengine.dataset import DefaultSampler

    from mms_plugin.multi_scale import (
        MultiScaleVariableBatchSampler,
        ResolutionCurriculum,
    )

    inner = DefaultSampler(range(num_samples), shuffle=True, seed=0)
    if arm == "baseline":
        sampler = torch.utils.data.BatchSampler(inner, batch_size, drop_last=False)
    else:
        sampler = MultiScaleVariableBatchSampler(
            inner, batch_size, 224, dict(min=128, max=320, num=7)
        )
        if arm == "ours-curriculum":
            sampler.set_curriculum(ResolutionCurriculum(by_epoch=False), max_epochs=90)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    images = iterations = 0
    for batch in sampler:
        images += len(batch)
        iterations += 1
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if images != num_samples:
        raise RuntimeError(f"{arm} gave {images} indices of {num_samples}")
    return dict(
        seconds=seconds, peak_mib=(after - before) / 1024, iterations=iterations
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-samples", type=int, default=1_281_167)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each")
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args(
        smoke_arguments(
            parser, None, lambda _: ["--num-samples", "2000", "--rounds", "1"]
        )
    )
    if min(args.num_samples, args.batch_size, args.rounds) < 1:
        parser.error("--num-samples, --batch-size and --rounds must be at least 1")
    if args.arm:
        print(json.dumps(measure(args.arm, args.num_samples, args.batch_size)))
        return
    runs: Dict[str, List[Dict[str, float]]] = {arm: [] for arm in ARMS}
    for _ in range(args.rounds):
        for arm in ARMS:
            command = [sys.executable, __file__, "--arm", arm]
            command += ["--num-samples", str(args.num_samples)]
            command += ["--batch-size", str(args.batch_size)]
            output = subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            runs[arm].append(json.loads(output))
    result = {
        arm: {key: statistics.median(run[key] for run in of_arm) for key in of_arm[0]}
        for arm, of_arm in runs.items()
    }
    for arm in ARMS[1:]:
        for key in ("seconds", "peak_mib"):
            pairs = zip(runs[arm], runs["baseline"])
            result[arm][f"{key}_ratio"] = statistics.median(
                own[key] / base[key] for own, base in pairs
            )
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{args.num_samples} indices, median of {args.rounds} runs")
    print(f"{'':16}{'seconds':>9}{'ratio':>7}{'MiB':>7}{'ratio':>7}{'iterations':>12}")
    for arm, row in result.items():
        print(
            f"{arm:16}{row['seconds']:9.3f}{row.get('seconds_ratio', 1):7.2f}"
            f"{row['peak_mib']:7.1f}{row.get('peak_mib_ratio', 1):7.2f}"
            f"{row['iterations']:12.0f}"
        )


if __name__ == "__main__":
    main()
