"""Measure a training's iterations by size on this device; print batch sizes for it."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

import torch
from mmengine.config import Config

from .. import cli
from ..analysis import (
    Measurement,
    batch_sizes_to_measure,
    fit_cost,
    is_out_of_memory,
    time_iterations,
)
from ..analysis.model_flops import total_stride
from ..analysis.training_iterations import (
    RealBatches,
    SyntheticBatches,
    TrainingIterations,
    sampler_config,
    size_schedule,
)
from ..multi_scale import GrowingSizes, Size, pixel_budget_batch_size
from ..recipes.batch_augments import BatchAugments, preprocessor_size
from .calibration_report import evaluate, show


def gigabytes(text: str) -> float:
    """Read a positive number of gigabytes, for ``type=``."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def parse_args(argv: List[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = cli.ArgumentParser(description=__doc__)
    cli.add_config_arguments(parser)
    cli.add_recipe_arguments(parser)
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=cli.size_argument,
        metavar="SIZE",
        help="sides in pixels or HEIGHTxWIDTH (default: those of the config's sampler)",
    )
    parser.add_argument(
        "--base-size",
        type=cli.size_argument,
        metavar="SIZE",
        help="size at which an iteration has --batch-size images (default: the "
        "sampler's, else the largest)",
    )
    parser.add_argument(
        "--batch-size",
        type=cli.whole_number(1),
        metavar="N",
        help="images at the base size (default: train_dataloader.batch_size)",
    )
    parser.add_argument(
        "--measure",
        nargs="+",
        type=cli.whole_number(1),
        metavar="N",
        help="batch sizes to measure at every size (default: around those of a fixed "
        "batch and of the pixel budget)",
    )
    parser.add_argument(
        "--memory-budget",
        type=gigabytes,
        metavar="GB",
        help="print the batch sizes that fill this many GB (10^9 bytes) of the "
        "accelerator's memory, instead of those that equalize the time",
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="'cpu' counts only this process's CPU time, for a CPU that other "
        "programs use too (default: wall)",
    )
    parser.add_argument(
        "--repeats",
        type=cli.whole_number(1),
        default=5,
        metavar="N",
        help="measured iterations of each kind; the median counts (default: 5)",
    )
    parser.add_argument(
        "--warmup",
        type=cli.whole_number(0),
        default=1,
        metavar="N",
        help="iterations of each kind before the measured ones (default: 1)",
    )
    parser.add_argument(
        "--data",
        choices=("auto", "real", "synthetic"),
        default="auto",
        help="the config's training data, or synthetic batches (default: its data if "
        "it exists and the config has the sampler)",
    )
    parser.add_argument(
        "--positive-rois",
        type=cli.whole_number(0),
        metavar="N",
        help="positive RoIs per image in synthetic batches (default: the most that "
        "the RoI sampler takes)",
    )
    parser.add_argument(
        "--checkpoint", metavar="CKPT", help="weights to measure with (default: random)"
    )
    parser.add_argument(
        "--num-samples",
        type=cli.whole_number(1),
        metavar="N",
        help="number of images in the predicted epoch (default: that of the data, "
        "else 1000)",
    )
    cli.add_amp_argument(parser)
    parser.add_argument(
        "--seed",
        type=cli.whole_number(0),
        default=0,
        help="seed of the order of the measurements (default: 0)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print only JSON to standard output: the measurements and the results",
    )
    return parser.parse_args(argv)


def schedule_of(config: Config, args: argparse.Namespace) -> GrowingSizes:
    """Return the sizes and batch sizes to measure, from the config or the arguments."""
    if config.get("train_dataloader") is None or config.get("optim_wrapper") is None:
        raise cli.UserError(
            f"config {args.config} has no train_dataloader and optim_wrapper"
        )
    if sampler_config(config) is None and args.sizes is None:
        raise cli.UserError(
            f"config {args.config} has no MultiScaleVariableBatchSampler: name the "
            "sizes to measure, such as --sizes 128 160 192 224"
        )
    changes: Dict[str, Any] = {}
    if args.sizes is not None:
        changes["sizes"] = args.sizes
    if args.base_size is not None:
        changes["base_size"] = args.base_size
    if args.batch_size is not None:
        changes["batch_size"] = args.batch_size
    with cli.setting_up("the sizes cannot be read from the config"):
        return size_schedule(config, **changes)


def points_of(
    schedule: GrowingSizes, measure: Optional[Sequence[int]]
) -> Dict[Size, List[int]]:
    """Return the batch sizes to measure by size; an unlisted base size comes last."""
    base, batch_size = schedule.base_size, schedule.batch_size
    sizes = list(dict.fromkeys([*schedule.sizes, base]))
    points = {}
    for size in sizes:
        if measure:
            points[size] = sorted(set(measure))
            continue
        pixel = pixel_budget_batch_size(batch_size, base, size)
        chosen = set(batch_sizes_to_measure(batch_size, pixel))
        if size in schedule.sizes:
            chosen.add(schedule.batch_sizes[schedule.sizes.index(size)])
        points[size] = sorted(chosen)
    return points


def make_data(
    config: Config, args: argparse.Namespace, model: Any, most: int, base: Size
) -> Tuple[Any, str]:
    """Return what gives the batches, and what to call it."""
    if args.data == "synthetic":
        why = "asked for"
    elif sampler_config(config) is None:
        why = "the config has no MultiScaleVariableBatchSampler"
    else:
        try:
            data = RealBatches(config, most, base)
            data(*base, 1)
        except Exception as error:
            missing = isinstance(error, OSError) and args.data == "auto"
            if cli.debugging() and not missing:
                raise
            why = cli.one_line(error)
            if not missing:
                raise cli.UserError(
                    f"the training data gives no batches: {why} (--data synthetic "
                    "does without)"
                ) from error
        else:
            if args.positive_rois is not None:
                raise cli.UserError(
                    "--positive-rois is for synthetic batches: add --data synthetic"
                )
            return data, f"real, of {data.num_samples} images"
    if args.data == "real":
        raise cli.UserError(f"--data real is not possible: {why}")
    try:
        return SyntheticBatches(model, args.positive_rois), f"synthetic ({why})"
    except ValueError as error:
        raise cli.UserError(f"no synthetic batches ({why}): {error}") from error


def build_training(
    config: Config, args: argparse.Namespace, work_dir: str, sizes: Iterable[Size]
) -> TrainingIterations:
    """Return what runs the iterations, after checks of what can be measured with it."""
    with cli.setting_up("the training cannot be built"):
        try:
            training = TrainingIterations(config, work_dir, args.checkpoint)
        except Exception as error:
            if args.checkpoint is not None:
                cli.raise_if_unreadable(args.checkpoint, error)
            raise
    stride = total_stride(training.model)
    for height, width in sizes:
        if stride is not None and min(height, width) < stride:
            raise cli.UserError(
                f"the size {height}x{width} lies below the model's stride of "
                f"{stride} pixels"
            )
    if args.memory_budget and training.device == "cpu":
        raise cli.UserError(
            "--memory-budget needs an accelerator, whose allocator counts its memory; "
            "this machine has only a CPU"
        )
    if args.clock == "cpu" and training.device != "cpu":
        raise cli.UserError(f"--clock cpu does not count the work on {training.device}")
    return training


def measure(
    config: Config,
    args: argparse.Namespace,
    schedule: GrowingSizes,
    points: Dict[Size, List[int]],
) -> Dict[str, Any]:
    """Run the iterations; give the timings and what they were made with."""
    began = time.perf_counter()

    def progress(done: int, rounds: int) -> None:
        took = time.perf_counter() - began
        print(f"round {done} of {rounds}, {took:.0f} s", file=sys.stderr)

    with tempfile.TemporaryDirectory() as work_dir:
        training = build_training(config, args, work_dir, points)
        most = max(max(batch_sizes) for batch_sizes in points.values())
        data, name = make_data(config, args, training.model, most, schedule.base_size)

        def prepare(height: int, width: int, batch_size: int) -> Any:
            images = f"{batch_size} images of {height}x{width}"
            with _failing(f"{images} cannot be loaded"):
                iteration = training.prepare(data(height, width, batch_size))

            def run() -> None:
                with _failing(f"an iteration of {images} fails"):
                    iteration()

            return run

        timings = time_iterations(
            [(*size, b) for size, batch_sizes in points.items() for b in batch_sizes],
            prepare,
            repeats=args.repeats,
            warmup=args.warmup,
            seed=args.seed,
            device=training.device,
            progress=progress,
            clock=time.process_time if args.clock == "cpu" else time.perf_counter,
        )
    if training.lost:
        print(
            "some losses were NaN or infinite, so that real iterations may take "
            "another time; measure with trained weights: --checkpoint CKPT",
            file=sys.stderr,
        )
    return dict(
        timings=timings,
        clock=args.clock,
        device=device_name(training.device),
        batches=name,
        num_samples=args.num_samples or getattr(data, "num_samples", 1000),
        loading={
            size: seconds / images
            for size, (seconds, images) in getattr(data, "loading", {}).items()
        },
    )


@contextmanager
def _failing(what: str) -> Iterator[None]:
    """Name the iteration that fails; being out of memory goes on to the timer."""
    try:
        yield
    except Exception as error:
        if cli.debugging() or is_out_of_memory(error):
            raise
        raise cli.UserError(f"{what}: {cli.one_line(error)}") from error


def device_name(device: str) -> str:
    """Return the name of the device, for a reader."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    if device == "cpu":
        return f"cpu, threads: {torch.get_num_threads()}"
    return device


def let_batches_keep_their_size(config: Config, base_size: Size) -> None:
    """Change data preprocessors that draw, pad to or resize to a size of their own.

    Args:
        config: Of a training. Changed in place.
        base_size: ``(height, width)`` in pixels.
    """

    def report(line: str) -> None:
        print(line, file=sys.stderr)

    BatchAugments(config, base_size).leave_out(config, report)
    own = preprocessor_size(config)
    if own is not None:  # none where a recipe has wrapped it
        BatchAugments(config, own).wrap(config, report)


def main(argv: List[str]) -> None:
    """Run the command."""
    args = parse_args(argv)
    with cli.json_on_stdout(args.json) as emit:
        config = cli.load_config(args.config, args.cfg_options)
        config = cli.apply_recipe_arguments(config, args)
        if args.checkpoint is not None:
            cli.check_checkpoint(args.checkpoint, "--checkpoint")
        if args.amp:
            cli.enable_amp(config)
        cli.set_dataloader_defaults(config)
        schedule = schedule_of(config, args)
        with cli.setting_up("the batches do not take the sizes to measure"):
            let_batches_keep_their_size(config, schedule.base_size)
        points = points_of(schedule, args.measure)
        with cli.setting_up("--sizes and --measure"):
            # Whether they can be fitted does not depend on the times.
            fit_cost([Measurement(*s, b, 1.0) for s in points for b in points[s]])
        measured = measure(config, args, schedule, points)
        document = evaluate(schedule, points, measured, args.memory_budget)
        emit(document)
    if not args.json:
        show(document, args.memory_budget)
