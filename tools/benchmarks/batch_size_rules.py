"""What the pixel budget's iterations really cost, on a small two-stage detector.

The Mask R-CNN of ``agvm_nuclei.py`` with the batch sampler, 96 to 256 pixels around
192, batch 8, on the real microscope images: writes its config and measures it by
``calibrate_batch_sizes.py``.

    python tools/benchmarks/batch_size_rules.py --data-root DIR --clock cpu
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import agvm_nuclei

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.smoke import smoke_arguments

SIZES = [96, 128, 160, 192, 224, 256]
CALIBRATE = Path(__file__).parents[1] / "analysis_tools" / "calibrate_batch_sizes.py"


def build_config(data_root: str, work_dir: str) -> Any:
    """Return the config of the benchmark's plain arm, at many sizes."""
    arguments = argparse.Namespace(
        data_root=data_root,
        work_dir=work_dir,
        epochs=1,
        seed=0,
        images=None,
        workers=0,
        lr_rule="sqrt",
    )
    config = agvm_nuclei.build_config(arguments, "sgd-8-plain")
    loader = config.train_dataloader
    for index, step in enumerate(loader.dataset.pipeline):
        if step["type"] == "Resize":
            transform = dict(type="Resize", keep_ratio=True)
            loader.dataset.pipeline[index] = dict(
                type="MultiScaleTransform", transform=transform
            )
    loader.dataset = dict(type="MultiScaleDataset", dataset=loader.dataset)
    loader.batch_sampler = dict(
        type="MultiScaleVariableBatchSampler",
        base_size=agvm_nuclei.SIZE,
        sizes=SIZES,
        group_by_aspect_ratio=True,
    )
    return config


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``; write their data."""
    from made_nuclei import write_nuclei

    root = write_nuclei(folder / "data")
    return (
        f"--data-root {root} --work-dir {folder / 'run'} --clock cpu --repeats 1 "
        "--warmup 1 --sizes 96 128 --base-size 96 --batch-size 2 --measure 1 2"
    ).split()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="Further arguments go to calibrate_batch_sizes.py.",
    )
    parser.add_argument("--data-root", required=True, help="folder of the nuclei data")
    parser.add_argument("--work-dir", default="work_dirs/batch_size_rules")
    args, further = parser.parse_known_args(smoke_arguments(parser, None, smoke))
    annotations = os.path.join(args.data_root, "annotations", "instances_train.json")
    if not os.path.isfile(annotations):
        parser.error(f"--data-root: {annotations} is missing")
    path = Path(args.work_dir) / "mask-rcnn_nuclei.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    build_config(args.data_root, args.work_dir).dump(path)
    command = [sys.executable, str(CALIBRATE), str(path), "--data", "real", *further]
    sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
