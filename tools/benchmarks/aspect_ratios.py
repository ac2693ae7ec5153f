"""Time and memory of reading the sides of a million images for aspect grouping.

A synthetic dataset of records as COCO's annotations give them, without masks, which
would only make the other way slower. Three ways, each in a process of its own: as
MultiScaleDataset does it while the dataset is built; through get_data_info, which
unpickles each record, on the same dataset built beforehand; and the dataset built
without the plugin, for its own time and memory.

    python tools/benchmarks/aspect_ratios.py --num-images 1000000
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.smoke import smoke_arguments

ARMS = ("mmengine", "ours", "unpickling")


def measure(arm: str, num_images: int, objects: int) -> Dict[str, float]:
    """Build the dataset in this process and read the sides of its images.

    Returns:
        ``build_seconds`` of the dataset, reading while building included;
        ``read_seconds`` of reading the sides, wherever it happens (0 for
        ``mmengine``); ``peak_mib`` of memory after the records are there;
        ``pickle_bytes`` that a worker process started afresh gets.
    """
    import resource
    import time
    from multiprocessing.reduction import ForkingPickler

    import numpy as np
    from mmengine.dataset import BaseDataset
    from mmengine.registry import DATASETS

    from mms_plugin.multi_scale import MultiScaleDataset
    from mms_plugin.multi_scale.aspect_groups import landscape_flags

    class Synthetic(BaseDataset):
        def load_data_list(self) -> list:
            rng = np.random.default_rng(0)
            sides = rng.integers(300, 641, (num_images, 2)).tolist()
            return [
                dict(
                    img_path=f"data/coco/train2017/{i:012d}.jpg",
                    img_id=i,
                    seg_map_path=None,
                    height=height,
                    width=width,
                    instances=[
                        dict(
                            ignore_flag=0,
                            bbox=[1.5 * i, 2.5 * j, 1.5 * i + 10, 2.5 * j + 20],
                            bbox_label=j,
                        )
                        for j in range(objects)
                    ],
                )
                for i, (height, width) in enumerate(sides)
            ]

    # Under a name of this module, to be pickled as for a worker process.
    Synthetic.__module__, Synthetic.__qualname__ = "__main__", "Synthetic"
    globals()["Synthetic"] = DATASETS.register_module(module=Synthetic)
    config = dict(type="Synthetic")
    start = time.perf_counter()
    dataset: Any = MultiScaleDataset(config) if arm == "ours" else Synthetic()
    build = time.perf_counter() - start
    start = time.perf_counter()
    if arm != "mmengine":
        flags = landscape_flags(
            dataset if arm == "ours" else MultiScaleDataset(dataset)
        )
        sides = np.random.default_rng(0).integers(300, 641, (num_images, 2))
        if not np.array_equal(flags, sides[:, 1] >= sides[:, 0]):
            raise RuntimeError(f"{arm} read other sides than there are")
    read = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    # As a data loader does: tensors in shared memory go as handles.
    pickled = len(ForkingPickler.dumps(dataset))
    if arm == "ours":
        # What it did while the dataset was built: the same reading, timed alone.
        del dataset
        records = MultiScaleDataset(Synthetic(serialize_data=False))
        start = time.perf_counter()
        records.image_sizes()
        read += time.perf_counter() - start
    return dict(
        build_seconds=build, read_seconds=read, peak_mib=peak, pickle_bytes=pickled
    )


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-images", type=int, default=1_000_000)
    parser.add_argument("--objects", type=int, default=2, help="boxes of an image")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    args = parser.parse_args(
        smoke_arguments(parser, None, lambda _: ["--num-images", "400"])
    )
    if args.num_images < 1 or args.objects < 0:
        parser.error("--num-images must be at least 1 and --objects at least 0")
    if args.arm:
        print(json.dumps(measure(args.arm, args.num_images, args.objects)))
        return
    result: Dict[str, Any] = {}
    for arm in ARMS:
        command = [sys.executable, __file__, "--arm", arm]
        command += ["--num-images", str(args.num_images)]
        command += ["--objects", str(args.objects)]
        output = subprocess.run(
            command, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        result[arm] = json.loads(output.splitlines()[-1])
    ratio = result["unpickling"]["read_seconds"] / result["ours"]["read_seconds"]
    result["times_faster"] = ratio
    if args.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{args.num_images} images of {args.objects} boxes")
    print(f"{'':12}{'build s':>9}{'read s':>9}{'MiB':>9}{'pickle MB':>11}")
    for arm in ARMS:
        row = result[arm]
        print(
            f"{arm:12}{row['build_seconds']:9.2f}{row['read_seconds']:9.3f}"
            f"{row['peak_mib']:9.0f}{row['pickle_bytes'] / 1e6:11.1f}"
        )
    print(f"reading: {ratio:.0f} times faster")


if __name__ == "__main__":
    main()
