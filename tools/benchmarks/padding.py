"""Padding wasted per batch: this sampler against mmdet's AspectRatioBatchSampler.

Every image is really loaded, resized with its ratio kept, and batched by mmdet's
``DetDataPreprocessor``; wasted is the part of a batch's pixels that no image covers.
Compared at one fixed size, and over many sizes: there mmdet's sampler runs at each of
them on its own, with the batch size that ours has there, and each size counts as often
as it occurs in ours.

    python tools/benchmarks/padding.py --data-root DIR/coco_mini
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any, Dict, Iterable, List, Tuple

# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mms_plugin.cli import ArgumentParser, UserError, json_on_stdout, run_command
from tools.smoke import smoke_arguments

Size = Tuple[int, int]


class Meter:
    """Pixels of the batches of one size, and of the images in them."""

    def __init__(self) -> None:
        self.covered = self.padded = self.batches = self.mixed = 0
        self.shares = 0.0

    def add(self, covered: int, padded: int, mixed: bool) -> None:
        """Count a batch."""
        self.covered += covered
        self.padded += padded
        self.batches += 1
        self.mixed += mixed
        self.shares += 1 - covered / padded


def summary(meters: Dict[Size, Meter], counted: Dict[Size, Meter]) -> Dict[str, float]:
    """Wasted over the sizes, each as often as it occurs in ``counted``."""
    weights = {size: counted[size].batches / meters[size].batches for size in meters}

    def total(field: str) -> float:
        return sum(weights[size] * getattr(meters[size], field) for size in meters)

    return dict(
        wasted=1 - total("covered") / total("padded"),
        wasted_per_batch=total("shares") / total("batches"),
        batches=sum(meter.batches for meter in meters.values()),
        mixed_batches=sum(meter.mixed for meter in meters.values()),
    )


class Batches:
    """What batches of a dataset look like behind mmdet's data preprocessor."""

    def __init__(self, root: Path, annotations: str, images: str, divisor: int):
        from mmdet.models import DetDataPreprocessor

        from mms_plugin.multi_scale import MultiScaleDataset

        self.preprocessor = DetDataPreprocessor(pad_size_divisor=divisor)
        self.dataset = MultiScaleDataset(
            dict(
                type="CocoDataset",
                data_root=str(root),
                ann_file=annotations,
                data_prefix=dict(img=images),
                filter_cfg=dict(filter_empty_gt=True, min_size=32),
                # The padding asks for shapes alone: without the annotations an image
                # of a size is the same each time, and is made once.
                pipeline=[
                    dict(type="LoadImageFromFile"),
                    dict(type="MultiScaleResize", keep_ratio=True),
                    dict(
                        type="PackDetInputs",
                        meta_keys=("img_id", "img_shape", "ori_shape"),
                    ),
                ],
            )
        )
        self._samples: Dict[Tuple[Size, int], Any] = {}

    def sample(self, size: Size, index: int) -> Any:
        """Return a sample of the dataset at a size."""
        from mms_plugin.multi_scale import sized_index_class

        key = (size, int(index))
        if key not in self._samples:
            self._samples[key] = self.dataset[sized_index_class(size)(index)]
        return self._samples[key]

    def measure(self, meter: Meter, size: Size, indices: Iterable[int]) -> None:
        """Count the batch of these indices at a size."""
        samples = [self.sample(size, index) for index in indices]
        batch = self.preprocessor(
            dict(
                inputs=[sample["inputs"] for sample in samples],
                data_samples=[sample["data_samples"].clone() for sample in samples],
            ),
            training=True,
        )["inputs"]
        images = [sample["inputs"].shape[1:] for sample in samples]
        originals = [sample["data_samples"].ori_shape for sample in samples]
        meter.add(
            sum(int(height) * int(width) for height, width in images),
            len(samples) * int(batch.shape[2]) * int(batch.shape[3]),
            len({width >= height for height, width in originals}) > 1,
        )


def compare(args: Any) -> Dict[str, Any]:
    """Measure both samplers over the same seeds and epochs."""
    import mmdet.datasets  # noqa: F401
    from mmdet.datasets.samplers import AspectRatioBatchSampler
    from mmengine.dataset import DefaultSampler
    from mmengine.registry import DefaultScope

    from mms_plugin.multi_scale import MultiScaleVariableBatchSampler

    DefaultScope.get_instance("padding", scope_name="mmdet")
    data = Batches(Path(args.data_root), args.annotations, args.images, args.divisor)
    sizes = dict(min=args.sizes[0], max=args.sizes[1], num=args.sizes[2])
    meters: Dict[str, Dict[Size, Meter]] = defaultdict(lambda: defaultdict(Meter))
    for seed in range(args.seeds):

        def inner(seed: int = seed) -> Any:
            return DefaultSampler(data.dataset, shuffle=True, seed=seed)

        def ours(sizes: Any = None, inner: Any = inner) -> Any:
            return MultiScaleVariableBatchSampler(
                inner(),
                args.batch_size,
                args.base_size,
                sizes,
                group_by_aspect_ratio=True,
            )

        fixed, many = ours(), ours(sizes)
        theirs = {
            size: AspectRatioBatchSampler(inner(), batch_size)
            for size, batch_size in zip(
                (fixed.base_size, *many.sizes), (args.batch_size, *many.batch_sizes)
            )
        }
        for epoch in range(args.epochs):
            for name, sampler in (("fixed, ours", fixed), ("many, ours", many)):
                sampler.set_epoch(epoch)
                for batch in sampler:
                    size = batch[0].size
                    data.measure(meters[name][size], size, batch)
            for size, sampler in theirs.items():
                sampler.sampler.set_epoch(epoch)
                names = ["fixed, mmdet"] if size == fixed.base_size else []
                names += ["many, mmdet"] if size in many.sizes else []
                for batch in sampler:
                    for name in names:
                        data.measure(meters[name][size], size, batch)
    order = ("fixed, mmdet", "fixed, ours", "many, mmdet", "many, ours")
    return {
        name: summary(meters[name], meters[name.replace("mmdet", "ours")])
        for name in order
    }


def smoke(folder: Path) -> List[str]:
    """Return the arguments that stand for ``--smoke``; write their data."""
    from made_nuclei import write_nuclei

    # Of a class and size that the dataset keeps.
    root = write_nuclei(folder / "data", side=128, name="person")
    return (
        f"--data-root {root} --annotations annotations/instances_train.json "
        "--images train/ --base-size 64 --sizes 64 128 2 --batch-size 3 --seeds 1 "
        "--epochs 1"
    ).split()


def main(argv: List[str]) -> None:
    """Run the command."""
    parser = ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--data-root", required=True, help="folder of a COCO dataset")
    parser.add_argument("--annotations", default="annotations/instances_train2017.json")
    parser.add_argument("--images", default="train2017/")
    parser.add_argument("--base-size", type=int, default=224)
    parser.add_argument(
        "--sizes", type=int, nargs=3, default=(128, 320, 7), help="min, max, number"
    )
    parser.add_argument("--batch-size", type=int, default=8, help="at the base size")
    parser.add_argument("--divisor", type=int, default=32, help="pad_size_divisor")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=4, help="of each seed")
    parser.add_argument("--json", action="store_true", help="print only JSON")
    args = parser.parse_args(smoke_arguments(parser, argv, smoke))
    for name in ("base_size", "batch_size", "divisor", "seeds", "epochs"):
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1")
    annotations = os.path.join(args.data_root, args.annotations)
    if not os.path.isfile(annotations):
        raise UserError(f"--data-root: {annotations} is missing")
    with json_on_stdout(args.json) as emit:
        result = compare(args)
        emit(result)
    if not args.json:
        print(f"{'':14}{'wasted':>8}{'per batch':>11}{'batches':>9}{'mixed':>7}")
        for name, row in result.items():
            print(
                f"{name:14}{100 * row['wasted']:7.2f}%"
                f"{100 * row['wasted_per_batch']:10.2f}%"
                f"{row['batches']:9}{row['mixed_batches']:7}"
            )


if __name__ == "__main__":
    run_command(main)
