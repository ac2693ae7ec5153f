"""Time by image size: iterations of real models, loading, and reduced decoding.

Three questions, each with a table:

- ``iterations``: seconds of a training iteration by size for ResNet-50 around 224 px
  and Mask R-CNN R50 up to 1024 px on made batches; the time of an epoch against the
  fixed size, by the pixel rule and with calibrated batch sizes, beside its FLOPs.
- ``loading``: images a second by size, and where the time goes: decoding, resizing and
  cropping, packing and collating.
- ``decoding``: whether decoding JPEG at a reduced size pays when the target is small.

Run it on a machine that does nothing else:

    python tools/benchmarks/size_times.py --output size_times.json
    python tools/benchmarks/size_times.py --parts iterations --device cuda --amp \
        --channels-last --cudnn-benchmark --models resnet50 --batch-scale 16
    python tools/benchmarks/size_times.py --smoke
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[2]
# The checkout that this file lies in, installed or not.
sys.path.insert(0, str(ROOT))

PARTS = ("iterations", "loading", "decoding")
EPOCHS = 20
IMAGES = 20_000


@dataclass(frozen=True)
class TimedModel:
    """A model and the sizes that it is timed at.

    Attributes:
        config: Name of a config of mmdet or mmpretrain.
        base: Base size in pixels.
        sizes: Sides in pixels.
        batch_size: Images of a batch at the base size.
        changes: What is changed in the config.
    """

    config: str
    base: int
    sizes: Tuple[int, ...]
    batch_size: int
    changes: Mapping[str, Any]


RESNET = "mmpretrain::resnet/resnet50_8xb32_in1k.py"
MODELS = {
    "resnet50": TimedModel(RESNET, 224, tuple(range(128, 321, 32)), 8, {}),
    "mask-rcnn-r50": TimedModel(
        "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py",
        1024,
        tuple(range(512, 1281, 128)),
        2,
        {
            "model.backbone.init_cfg": None,
            "model.backbone.frozen_stages": -1,
            "model.backbone.norm_eval": False,
        },
    ),
}
SMOKE = {
    "smoke": TimedModel(
        "mmpretrain::resnet/resnet18_8xb32_in1k.py",
        48,
        (32, 48, 64),
        4,
        {
            "model.backbone.base_channels": 8,
            "model.backbone.stem_channels": 8,
            "model.head.in_channels": 64,
        },
    )
}


# ------------------------------------------------------------------------ iterations


def training_mix(
    timed: TimedModel,
    batch_sizes: Optional[Sequence[int]],
    curriculum: bool,
) -> Dict[Tuple[int, int], int]:
    """Return how often a training runs each ``(side, images)``.

    The last, smaller batches of the epochs are left out.

    Args:
        timed: Model with its sizes.
        batch_sizes: Images at each size; ``None``: by the pixel rule.
        curriculum: Whether the sizes grow from the two smallest over 80 %.
    """
    from mmengine.dataset import DefaultSampler

    from mms_plugin import MultiScaleVariableBatchSampler, ResolutionCurriculumHook

    sampler = MultiScaleVariableBatchSampler(
        DefaultSampler(range(IMAGES), shuffle=False),
        timed.batch_size,
        base_size=timed.base,
        sizes=list(timed.sizes),
        batch_sizes=None if batch_sizes is None else list(batch_sizes),
        seed=0,
    )
    if curriculum:
        hook = ResolutionCurriculumHook(start_sizes=list(timed.sizes[:2]), end=0.8)
        sampler.set_curriculum(hook.curriculum, max_epochs=EPOCHS)
    full = dict(zip(timed.sizes, sampler.batch_sizes))
    mix: Dict[Tuple[int, int], int] = {}
    for epoch in range(EPOCHS):
        for side, _, images in sampler.plan(epoch):
            if images == full[side]:
                mix[side, images] = mix.get((side, images), 0) + 1
    return mix


def per_image(
    mix: Mapping[Tuple[int, int], int], cost: Callable[[int, int], float]
) -> float:
    """Return the mean cost of an image of a training.

    Args:
        mix: Iterations by ``(side, images)``.
        cost: Cost of an iteration by side and images.
    """
    total = sum(times * cost(*batch) for batch, times in mix.items())
    return total / sum(times * images for (_, images), times in mix.items())


class Iterations:
    """Real training iterations of a model on made batches.

    Args:
        timed: Model with its sizes.
        device: Where it runs.
        amp: Whether in mixed precision: ``float16`` with a scaled loss on a GPU,
            ``bfloat16`` on the CPU, as MMEngine's ``AmpOptimWrapper``.
        channels_last: Whether tensors of images are in channels-last format.

    Attributes:
        first: Wall-clock seconds of the first iteration at each ``(height, width,
            images)``, which may search for the fastest kernels and allocate memory.
    """

    def __init__(
        self, timed: TimedModel, device: str, amp: bool, channels_last: bool
    ) -> None:
        import torch
        from mmengine.hub import get_config
        from mmengine.registry import DefaultScope

        from mms_plugin.analysis import batch_maker, build_model

        config = get_config(timed.config)
        config.merge_from_dict(dict(timed.changes))
        scope = config.default_scope
        self.scope = DefaultScope.overwrite_default_scope(scope)
        with self.scope:
            self.model = build_model(config).to(device).train()
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.model = self.model.to(  # type: ignore[call-overload]
                memory_format=torch.channels_last
            )
        self.make_batch = batch_maker(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4)
        kind = device.partition(":")[0]
        half = torch.bfloat16 if kind == "cpu" else torch.float16
        self.autocast = lambda: torch.autocast(kind, half, enabled=amp)
        # torch.amp has one since torch 2.3.
        scaler = getattr(torch.amp, "GradScaler", torch.cuda.amp.GradScaler)
        self.scaler = scaler(enabled=amp and kind != "cpu")
        self.device = device
        self.batches: Dict[Tuple[int, int, int], Dict[str, Any]] = {}
        self.first: Dict[Tuple[int, int, int], float] = {}

    def prepare(self, height: int, width: int, images: int) -> Callable[[], None]:
        """Return the iteration on a batch, which is made once and kept."""
        from mms_plugin.utils.device import device_module, run_measured

        point = (height, width, images)
        if point not in self.batches:
            batch = self.make_batch(images, height, width)
            batch["inputs"] = batch["inputs"].to(memory_format=self.format)
            self.batches[point] = batch
        batch = self.batches[point]

        def run() -> None:
            with self.autocast():
                losses = self.model(**batch, mode="loss")
            loss, _ = self.model.parse_losses(losses)  # type: ignore[operator]
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()

        if point in self.first:
            return run

        def run_first() -> None:
            module = device_module(self.device)
            self.first[point], _ = run_measured(run, module, time.perf_counter)

        return run_first


def time_model(timed: TimedModel, args: argparse.Namespace) -> Dict[str, Any]:
    """Return seconds by size, and the cost of trainings against the fixed size."""
    from mms_plugin.analysis import (
        IterationCosts,
        Measurement,
        batch_sizes_to_measure,
        level_batch_sizes,
        time_iterations,
        training_flops_per_image,
    )

    iterations = Iterations(timed, args.device, args.amp, args.channels_last)
    rule = {batch[0]: batch[1] for batch in training_mix(timed, None, False)}
    points = {
        (side, side, images)
        for side in {*timed.sizes, timed.base}
        for images in batch_sizes_to_measure(
            timed.batch_size, rule.get(side, timed.batch_size)
        )
    }
    clock = time.process_time if args.clock == "cpu" else time.perf_counter
    # The first iteration of a process also loads libraries and kernels: on a batch of
    # its own, so that it is no size's first.
    iterations.prepare(timed.base, timed.base, timed.batch_size + 1)()
    timings = time_iterations(
        sorted(points),
        iterations.prepare,
        repeats=args.repeats,
        warmup=args.warmup,
        device=args.device,
        clock=clock,
        progress=lambda done, of: print(f"round {done} of {of}", file=sys.stderr),
    )
    costs = IterationCosts.of(
        [
            Measurement(*point, timing.seconds)
            for point, timing in timings.items()
            if timing.seconds
        ]
    )
    # Batch norm needs two images to train on one pixel; the counter needs no more.
    flops = training_flops_per_image(
        iterations.model,
        iterations.make_batch,
        [(side, side) for side in {*timed.sizes, timed.base}],
    )

    def seconds(side: int, images: int) -> float:
        timing = timings.get((side, side, images))
        if timing is not None and timing.seconds:
            return timing.seconds
        return costs.at(side, side, images)

    def spent(side: int, images: int) -> float:
        return images * flops[side, side]

    base = (timed.base, timed.base)
    squares = [(side, side) for side in timed.sizes]
    tables: Dict[str, Optional[List[int]]] = {"pixel rule": None}
    if all(costs.at(*square, 2) > costs.at(*square, 1) for square in squares):
        tables["calibrated"] = level_batch_sizes(costs, timed.batch_size, base, squares)
    else:
        print(
            "no calibrated batch sizes: the time of an iteration does not grow with "
            "its images",
            file=sys.stderr,
        )
    fixed = {(timed.base, timed.batch_size): 1}
    trainings = {}
    for name, curriculum in (("MSc-VBS", False), ("MSc-VBSWC", True)):
        for way, batch_sizes in tables.items():
            mix = training_mix(timed, batch_sizes, curriculum)
            flops_ratio = per_image(mix, spent) / per_image(fixed, spent)
            measured = per_image(mix, seconds) / per_image(fixed, seconds)
            predicted = per_image(
                mix, lambda side, images: costs.at(side, side, images)
            ) / costs.at(*base, timed.batch_size)
            trainings[f"{name}, {way}"] = dict(
                flops_ratio=flops_ratio,
                time_ratio=measured,
                time_ratio_of_fit=predicted * timed.batch_size,
                gap=measured - flops_ratio,
            )
    base_pixel = seconds(timed.base, timed.batch_size) / (
        timed.batch_size * timed.base**2
    )
    return dict(
        sizes=[
            dict(
                side=side,
                images=images,
                seconds=seconds(side, images),
                spread=timings[side, side, images].spread,
                first_seconds=iterations.first.get((side, side, images)),
                memory_gib=gibibytes(timings[side, side, images].memory),
                time_per_pixel=seconds(side, images) / (images * side**2) / base_pixel,
                flops_per_pixel=(flops[side, side] / side**2)
                / (flops[base] / timed.base**2),
            )
            for side, images in sorted(rule.items())
        ],
        sides=list(timed.sizes),
        calibrated_batch_sizes=tables.get("calibrated"),
        trainings=trainings,
    )


def gibibytes(count: Optional[int]) -> Optional[float]:
    """Return bytes in GiB, and nothing for a device that does not count them."""
    return None if count is None else count / 2**30


# --------------------------------------------------------------------------- loading


def made_photographs(
    count: int, height: int = 375, width: int = 500, seed: int = 0
) -> List[bytes]:
    """Return JPEG files of smooth noise at several scales, about as large as photos.

    Args:
        count: Number of files.
        height: Height in pixels. Defaults to 375, usual in ImageNet.
        width: Width in pixels. Defaults to 500.
        seed: Seed of the noise. Defaults to 0.
    """
    import cv2
    import numpy as np

    rng = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        image = np.full((height, width, 3), 128.0, np.float32)
        for cells, strength in ((4, 40), (16, 25), (64, 15), (180, 10)):
            noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
            image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        image = np.clip(image, 0, 255).astype(np.uint8)
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
        assert done
        files.append(data.tobytes())
    return files


def read_files(folder: Optional[Path], count: int) -> List[bytes]:
    """Return JPEG files of a folder and its subfolders, or made ones.

    Raises:
        ValueError: The folder has none.
    """
    if folder is None:
        return made_photographs(count)
    paths = sorted(folder.rglob("*.jpg"))
    if not paths:
        raise ValueError(f"--images must hold *.jpg files, but got {str(folder)!r}")
    step = max(1, len(paths) // count)
    return [path.read_bytes() for path in paths[::step][:count]]


def time_loading(
    files: Sequence[bytes],
    sizes: Sequence[int],
    base: int,
    batch_size: int,
    rounds: int,
) -> List[Dict[str, float]]:
    """Return microseconds per image of each stage of loading, by size.

    Batches hold the pixels of ``batch_size`` images of ``base`` pixels. The transforms
    are mmpretrain's usual ones: decoding by mmcv, ``RandomResizedCrop`` to the size,
    ``RandomFlip``, ``PackInputs``; then ``default_collate``.
    """
    import mmcv
    from mmengine.dataset import default_collate
    from mmengine.registry import DefaultScope
    from mmpretrain.registry import TRANSFORMS

    from mms_plugin.multi_scale import pixel_budget_batch_size

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        flip = TRANSFORMS.build(dict(type="RandomFlip", prob=0.5))
        pack = TRANSFORMS.build(dict(type="PackInputs"))
        crops = {
            side: TRANSFORMS.build(dict(type="RandomResizedCrop", scale=side))
            for side in sizes
        }
    rows = []
    for side in sizes:
        images = pixel_budget_batch_size(batch_size, (base, base), (side, side))
        times: Dict[str, List[float]] = dict(decode=[], transform=[], pack=[])
        for _ in range(rounds):
            sums = dict.fromkeys(times, 0.0)
            samples: List[Any] = []
            for data in files:
                start = time.process_time()
                image = mmcv.imfrombytes(data)
                decoded = time.process_time()
                results = dict(
                    img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2]
                )
                results = flip(crops[side](dict(results, gt_label=0, img_path="")))
                changed = time.process_time()
                samples.append(pack(results))
                if len(samples) == images:
                    default_collate(samples)
                    samples = []
                packed = time.process_time()
                sums["decode"] += decoded - start
                sums["transform"] += changed - decoded
                sums["pack"] += packed - changed
            for stage, spent in sums.items():
                times[stage].append(1e6 * spent / len(files))
        row = {stage: statistics.median(values) for stage, values in times.items()}
        total = sum(row.values())
        rows.append(
            dict(side=side, images=images, **row, images_per_second=1e6 / total)
        )
    return rows


# -------------------------------------------------------------------------- decoding


def reduction(height: int, width: int, side: int) -> int:
    """Return by how much JPEG may be reduced while both sides stay at least ``side``.

    Args:
        height: Height of the file's image in pixels.
        width: Width in pixels.
        side: Side that is needed in pixels.

    Returns:
        int: 1, 2, 4 or 8.
    """
    return max([f for f in (1, 2, 4, 8) if min(height, width) // f >= side] or [1])


def time_decoding(
    files: Sequence[bytes], sizes: Sequence[int], rounds: int
) -> List[Dict[str, Any]]:
    """Return microseconds per image of decoding and resizing to a square, by size.

    Full decoding by each of mmcv's backends that is installed, and reduced decoding by
    OpenCV's flags and Pillow's draft mode, which mmcv does not offer.
    """
    ways = decoders()
    rows = []
    for side in sizes:
        times: Dict[str, List[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, decode in ways.items():
                start = time.process_time()
                for data in files:
                    decode(data, side)
                spent = time.process_time() - start
                times[name].append(1e6 * spent / len(files))
        row: Dict[str, Any] = dict(side=side)
        row.update((name, statistics.median(v)) for name, v in times.items())
        rows.append(row)
    return rows


def decoders() -> Dict[str, Callable[[bytes, int], Any]]:
    """Return ways to decode a file and resize it to a square, by name."""
    import io

    import cv2
    import mmcv
    import numpy as np
    from PIL import Image

    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }

    def by_mmcv(backend: str) -> Callable[[bytes, int], Any]:
        return lambda data, side: mmcv.imresize(
            mmcv.imfrombytes(data, backend=backend), (side, side)
        )

    def reduced(data: bytes, side: int) -> Any:
        with Image.open(io.BytesIO(data)) as header:  # reads no pixels
            width, height = header.size
        flag = flags[reduction(height, width, side)]
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
        return mmcv.imresize(image, (side, side))

    def draft(data: bytes, side: int) -> Any:
        with Image.open(io.BytesIO(data)) as image:
            image.draft("RGB", (side, side))
            return mmcv.imresize(np.asarray(image)[..., ::-1], (side, side))

    found = {"cv2": by_mmcv("cv2"), "cv2 reduced": reduced}
    for backend, package in (("pillow", "PIL"), ("turbojpeg", "turbojpeg")):
        if importlib.util.find_spec(package) is not None:
            found[backend] = by_mmcv(backend)
    found["pillow reduced"] = draft
    return found


# ---------------------------------------------------------------------------- output


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of numbers as Markdown."""
    from mms_plugin.utils.tables import markdown_table

    def cell(value: Any) -> str:
        return f"{value:.3g}" if isinstance(value, float) else str(value)

    heading = list(rows[0])
    return markdown_table(
        [heading, *([cell(row[key]) for key in heading] for row in rows)]
    )


def show(result: Mapping[str, Any]) -> None:
    """Print the tables."""
    for name, model in result.get("iterations", {}).items():
        print(f"\n{name}: iterations by size, time and FLOPs per pixel against base\n")
        print(table(model["sizes"]))
        print(f"\n{name}: cost of an image against the fixed size\n")
        rows = [dict(training=k, **v) for k, v in model["trainings"].items()]
        print(table(rows))
    for part, text in (
        ("loading", "microseconds of processor time per image by stage"),
        ("decoding", "microseconds of processor time per image, resized to the side"),
    ):
        if part in result:
            print(f"\n{part}: {text}\n")
            print(table(result[part]))


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--models", nargs="+", choices=list(MODELS), default=list(MODELS)
    )
    parser.add_argument("--device", default="cpu", help="such as cuda")
    parser.add_argument("--amp", action="store_true", help="mixed precision")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument(
        "--cudnn-benchmark",
        action="store_true",
        help="search for the fastest kernels at each new input shape",
    )
    parser.add_argument("--threads", type=int, default=1, help="on the CPU")
    parser.add_argument(
        "--batch-scale", type=int, default=1, help="factor of the batch sizes"
    )
    parser.add_argument("--repeats", type=int, default=5, help="runs of each size")
    parser.add_argument(
        "--warmup", type=int, default=1, help="runs of each size that do not count"
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="'cpu' counts this process's own time, on a CPU that others share",
    )
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="JPEG files (default: made ones)"
    )
    parser.add_argument("--num-files", type=int, default=200)
    parser.add_argument("--output", type=Path, help="JSON file for the results")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument(
        "--smoke", action="store_true", help="a tiny model and a few made images"
    )
    args = parser.parse_args()
    for name in ("threads", "batch_scale", "repeats", "warmup", "num_files"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if args.clock == "cpu" and args.device != "cpu":
        parser.error(f"--clock cpu does not count the work on {args.device}")
    if args.images is not None and not args.images.is_dir():
        parser.error(f"--images {args.images} is no folder")
    return args


def device_name(device: str) -> str:
    """Return the name that an accelerator gives itself, or the processor's kind."""
    from mms_plugin.utils.device import device_module

    name = getattr(device_module(device), "get_device_name", None)
    return name(device) if name is not None else platform.machine()


def main() -> None:
    """Entry point."""
    args = parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    from dataclasses import replace

    import torch
    from lab.arms import git_commit, write_json

    torch.set_num_threads(args.threads)
    torch.backends.cudnn.benchmark = args.cudnn_benchmark
    models = {name: MODELS[name] for name in args.models}
    sizes: Sequence[int] = MODELS["resnet50"].sizes
    if args.smoke:
        models, sizes = SMOKE, (32, 64)
        args.repeats, args.num_files = 1, 4
    result: Dict[str, Any] = dict(
        about=dict(
            device=args.device,
            device_name=device_name(args.device),
            amp=args.amp,
            channels_last=args.channels_last,
            cudnn_benchmark=args.cudnn_benchmark,
            threads=args.threads,
            clock=args.clock,
            repeats=args.repeats,
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
            torch=torch.__version__,
            commit=git_commit(ROOT),
        )
    )
    if "iterations" in args.parts:
        result["iterations"] = {
            name: time_model(
                replace(model, batch_size=model.batch_size * args.batch_scale), args
            )
            for name, model in models.items()
        }
    if {"loading", "decoding"} & set(args.parts):
        try:
            files = read_files(args.images, args.num_files)
        except ValueError as error:
            raise SystemExit(str(error)) from None
        if "loading" in args.parts:
            result["loading"] = time_loading(files, sizes, 224, 32, args.repeats)
        if "decoding" in args.parts:
            result["decoding"] = time_decoding(files, sizes, args.repeats)
    if args.output is not None:
        write_json(result, args.output)
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        show(result)


if __name__ == "__main__":
    main()
