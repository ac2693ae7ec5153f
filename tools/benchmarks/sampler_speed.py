"""Time and memory of one epoch of indices: ours against MMEngine's, torch's and timm's.

All run side by side in one process, in turn, and the medians are compared: the ratio
holds where the machine's speed drifts. Processor time is counted. timm's scheduled
sampler is read from the installed package (``pip install --no-deps "timm>=1.0.31"``);
without it that arm is left out with a reason. ``--pickle`` also pickles every batch, as
the main process does for a worker. ``--memory`` measures the peak of each in a process
of its own.

    python tools/benchmarks/sampler_speed.py --num-samples 1281167 --memory
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import pickle
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Tuple

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.smoke import smoke_arguments

BASELINE = "baseline"
SIDES = (128, 160, 192, 224, 256, 288, 320)
BASE = 224
EPOCHS = 90
TIMM = 'pip install --no-deps "timm>=1.0.31"'


def batch_sizes(batch_size: int) -> List[int]:
    """Return the images at each of :data:`SIDES` that hold the pixels of the base."""
    return [max(1, batch_size * BASE**2 // side**2) for side in SIDES]


def build_baseline(num_samples: int, batch_size: int) -> Iterable[Any]:
    """Return MMEngine's sampler with torch's batch sampler, at one size."""
    import torch

    return torch.utils.data.BatchSampler(
        _inner(num_samples), batch_size, drop_last=False
    )


def build_ours(num_samples: int, batch_size: int) -> Iterable[Any]:
    """Return the package's sampler, sizes drawn uniformly."""
    from mms_plugin import MultiScaleVariableBatchSampler

    return MultiScaleVariableBatchSampler(
        _inner(num_samples), batch_size, base_size=BASE, sizes=list(SIDES)
    )


def build_curriculum(num_samples: int, batch_size: int) -> Iterable[Any]:
    """Return the package's sampler in the first epoch of a curriculum."""
    from mms_plugin import ResolutionCurriculumHook

    sampler: Any = build_ours(num_samples, batch_size)
    hook = ResolutionCurriculumHook(by_epoch=False)
    sampler.set_curriculum(hook.curriculum, max_epochs=EPOCHS)
    return sampler


def build_timm(num_samples: int, batch_size: int) -> Iterable[Any]:
    """Return timm's scheduled sampler, sizes drawn uniformly."""
    return _timm_sampler()(
        _inner(num_samples), batch_sizes(batch_size), drop_last=False
    )


def build_timm_progressive(num_samples: int, batch_size: int) -> Iterable[Any]:
    """Return timm's scheduled sampler in the first epoch of a progressive schedule."""
    return _timm_sampler()(
        _inner(num_samples),
        batch_sizes(batch_size),
        drop_last=False,
        choice_schedule="progressive",
        schedule_epochs=EPOCHS,
    )


def _inner(num_samples: int) -> Any:
    from mmengine.dataset import DefaultSampler

    return DefaultSampler(range(num_samples), shuffle=True, seed=0)


def _timm_sampler() -> Any:
    """Load timm's sampler from its file, which needs only torch.

    Importing ``timm`` would need packages that the sampler does not.

    Raises:
        ImportError: timm is missing or older than 1.0.31.
    """
    name = "timm_scheduled_sampler"
    if name not in sys.modules:
        found = importlib.util.find_spec("timm")
        places = list(found.submodule_search_locations or []) if found else []
        files = [Path(place, "data", "scheduled_sampler.py") for place in places]
        files = [path for path in files if path.is_file()]
        if not files:
            raise ImportError(f"timm >= 1.0.31 is not installed: {TIMM}")
        spec = importlib.util.spec_from_file_location(name, files[0])
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name].ScheduledBatchSampler


Build = Callable[[int, int], Iterable[Any]]
ARMS: Dict[str, Build] = {
    BASELINE: build_baseline,
    "timm": build_timm,
    "timm-progressive": build_timm_progressive,
    "ours": build_ours,
    "ours-curriculum": build_curriculum,
}
# It may cycle or leave out indices: its number of batches is that of a mean epoch.
INEXACT = ("timm-progressive",)


def peak_memory() -> int:
    """Return the peak of this process's memory in KiB, as Linux counts it."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) if found else 0


def measure(
    arm: str, num_samples: int, batch_size: int, pickled: bool = False
) -> Dict[str, float]:
    """Build an arm's sampler and iterate one epoch in this process.

    Args:
        arm: One of :data:`ARMS`.
        num_samples: Indices of the epoch.
        batch_size: Images of a batch at the base size.
        pickled: Pickle each batch, as for a worker. Defaults to ``False``.

    Returns:
        ``seconds`` of processor time of the epoch, ``iterations``, ``images`` and
        ``peak_mib``: by how much the peak of this process's memory rose.

    Raises:
        ImportError: The arm's package is missing.
        RuntimeError: The arm does not give every index once.
    """
    sampler = ARMS[arm](num_samples, batch_size)
    gc.collect()
    # Forget the peak of the imports. `ru_maxrss` cannot be reset, and a process takes
    # it over from the one that started it.
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_memory()
    images = iterations = 0
    start = time.process_time()
    for batch in sampler:
        images += len(batch)
        iterations += 1
        if pickled:
            pickle.dumps(batch, pickle.HIGHEST_PROTOCOL)
    seconds = time.process_time() - start
    after = peak_memory()
    if images != num_samples and arm not in INEXACT:
        raise RuntimeError(f"{arm} gave {images} indices of {num_samples}")
    return dict(
        seconds=seconds,
        iterations=iterations,
        images=images,
        peak_mib=(after - before) / 1024,
    )


def compare(
    num_samples: int, batch_size: int, rounds: int, pickled: bool = False
) -> Tuple[Dict[str, Dict[str, float]], Dict[str, str]]:
    """Run all arms in turn in this process.

    Args:
        num_samples: Indices of the epoch.
        batch_size: Images of a batch at the base size.
        rounds: Epochs of each arm that count, after one that does not.
        pickled: Pickle each batch, as for a worker. Defaults to ``False``.

    Returns:
        Medians by arm with ``seconds_ratio`` to the baseline's, per image; and the
        reasons of the arms that are left out.
    """
    runs: Dict[str, List[Dict[str, float]]] = {arm: [] for arm in ARMS}
    skipped: Dict[str, str] = {}
    for number in range(rounds + 1):
        for arm in ARMS:
            if arm in skipped:
                continue
            try:
                found = measure(arm, num_samples, batch_size, pickled)
            except ImportError as error:
                skipped[arm] = str(error)
                continue
            if number:  # the first round imports and fills caches
                runs[arm].append(found)
    medians = {
        arm: {
            key: statistics.median(run[key] for run in of_arm)
            for key in ("seconds", "iterations", "images")
        }
        for arm, of_arm in runs.items()
        if of_arm
    }
    base = medians[BASELINE]["seconds"] / medians[BASELINE]["images"]
    for row in medians.values():
        row["seconds_ratio"] = row["seconds"] / row["images"] / base
    return medians, skipped


def add_memory(
    result: Dict[str, Dict[str, float]], num_samples: int, batch_size: int, rounds: int
) -> None:
    """Add ``peak_mib`` and its ratio to the baseline's, measured in processes."""
    for arm, row in result.items():
        command = [sys.executable, __file__, "--arm", arm]
        command += ["--num-samples", str(num_samples)]
        command += ["--batch-size", str(batch_size)]
        outputs = [
            subprocess.run(
                command, check=True, stdout=subprocess.PIPE, text=True
            ).stdout
            for _ in range(rounds)
        ]
        peaks = [json.loads(output.splitlines()[-1])["peak_mib"] for output in outputs]
        row["peak_mib"] = statistics.median(peaks)
    base = result[BASELINE]["peak_mib"]
    for row in result.values():
        # Few indices raise no peak.
        row["peak_mib_ratio"] = row["peak_mib"] / base if base else 1.0


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-samples", type=int, default=1_281_167)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7, help="runs of each")
    parser.add_argument(
        "--pickle", action="store_true", help="pickle each batch, as for a worker"
    )
    parser.add_argument("--memory", action="store_true", help="measure peaks too")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args(
        smoke_arguments(
            parser, None, lambda _: ["--num-samples", "5000", "--rounds", "1"]
        )
    )
    if min(args.num_samples, args.batch_size, args.rounds) < 1:
        parser.error("--num-samples, --batch-size and --rounds must be at least 1")
    if args.arm:
        print(json.dumps(measure(args.arm, args.num_samples, args.batch_size)))
        return
    result, skipped = compare(
        args.num_samples, args.batch_size, args.rounds, args.pickle
    )
    if args.memory:
        add_memory(result, args.num_samples, args.batch_size, args.rounds)
    for arm, reason in skipped.items():
        print(f"{arm} is left out: {reason}", file=sys.stderr)
    if args.json:
        print(json.dumps(dict(result, skipped=skipped), indent=2))
        return
    columns = ["seconds", "seconds_ratio", "iterations"]
    if args.memory:
        columns += ["peak_mib", "peak_mib_ratio"]
    print(f"{args.num_samples} indices, medians of {args.rounds} runs of each in turn")
    print(f"{'':18}" + "".join(f"{column:>15}" for column in columns))
    for arm, row in result.items():
        cells = "".join(f"{row[column]:15.3f}" for column in columns)
        print(f"{arm:18}{cells}")


if __name__ == "__main__":
    main()
