"""Measure a training's iterations by size on this device; print batch sizes for it."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from mmengine.config import Config

from .. import cli
from ..analysis import (
    IterationCosts,
    Measurement,
    Timing,
    batch_sizes_to_measure,
    epoch_time,
    exceeds_memory,
    fill_batch_sizes,
    fit_cost,
    fitting_batch_sizes,
    is_out_of_memory,
    level_batch_sizes,
    relative_errors,
    time_iterations,
)
from ..analysis.cost_fit import CostFit
from ..analysis.model_flops import total_stride
from ..analysis.training_iterations import (
    RealBatches,
    SyntheticBatches,
    TrainingIterations,
    sampler_config,
    size_schedule,
)
from ..multi_scale import (
    GrowingSizes,
    Size,
    cost_model_batch_size,
    parse_cost_model,
    pixel_budget_batch_size,
)
from ..multi_scale.sizes import size_text
from ..recipes.batch_augments import BatchAugments, preprocessor_size
from ..utils.tables import plain_table

GB = 10**9
MOST_OVERHEAD = 0.5
"""Part of an iteration that may be overhead for batch sizes to be leveled by time."""


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
        with cli.setting_up("the training cannot be built"):
            try:
                training = TrainingIterations(config, work_dir, args.checkpoint)
            except Exception as error:
                if args.checkpoint is not None:
                    cli.raise_if_unreadable(args.checkpoint, error)
                raise
        stride = total_stride(training.model)
        for height, width in points:
            if stride is not None and min(height, width) < stride:
                raise cli.UserError(
                    f"the size {height}x{width} lies below the model's stride of "
                    f"{stride} pixels"
                )
        if args.memory_budget and training.device == "cpu":
            raise cli.UserError(
                "--memory-budget needs an accelerator, whose allocator counts its "
                "memory; this machine has only a CPU"
            )
        if args.clock == "cpu" and training.device != "cpu":
            raise cli.UserError(
                f"--clock cpu does not count the work on {training.device}"
            )
        most = max(max(batch_sizes) for batch_sizes in points.values())
        data, name = make_data(config, args, training.model, most, schedule.base_size)

        def prepare(height: int, width: int, batch_size: int) -> Any:
            images = f"{batch_size} images of {height}x{width}"
            with _Failing(f"{images} cannot be loaded"):
                iteration = training.prepare(data(height, width, batch_size))

            def run() -> None:
                with _Failing(f"an iteration of {images} fails"):
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
        device=device_name(training.device),
        batches=name,
        num_samples=args.num_samples or getattr(data, "num_samples", 1000),
        loading={
            size: seconds / images
            for size, (seconds, images) in getattr(data, "loading", {}).items()
        },
    )


class _Failing:
    """Name the iteration that fails; being out of memory goes on to the timer."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if not isinstance(error, Exception) or cli.debugging():
            return
        if not is_out_of_memory(error):
            raise cli.UserError(f"{self.what}: {cli.one_line(error)}") from error


def device_name(device: str) -> str:
    """Return the name of the device, for a reader."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    if device == "cpu":
        return f"cpu, threads: {torch.get_num_threads()}"
    return device


def evaluate(
    args: argparse.Namespace,
    schedule: GrowingSizes,
    points: Dict[Size, List[int]],
    measured: Dict[str, Any],
) -> Dict[str, Any]:
    """Return the document that ``--json`` prints."""
    timings: Dict[Tuple[int, int, int], Timing] = measured["timings"]
    times = [
        Measurement(*point, timing.seconds)
        for point, timing in timings.items()
        if timing.seconds is not None
    ]
    memories = [
        Measurement(*point, timing.memory)
        for point, timing in timings.items()
        if timing.memory
    ]
    with cli.setting_up("the cost model cannot be fitted"):
        costs = IterationCosts.of(times)
        memory = IterationCosts.of(memories, conservative=True) if memories else None
    base, batch_size = schedule.base_size, schedule.batch_size
    fits: Dict[Size, Dict[int, bool]] = {size: {} for size in points}
    for (height, width, number), timing in timings.items():
        fits[height, width][number] = timing.seconds is not None
    table = _batch_sizes(args.memory_budget, schedule, costs, memory, fits)
    pasted = paste_of(costs)
    errors = relative_errors(costs.fit, times)
    return dict(
        device=measured["device"],
        clock=args.clock,
        batches=measured["batches"],
        base_size=list(base),
        batch_size=batch_size,
        sizes=[
            dict(
                height=size[0],
                width=size[1],
                batch_sizes=batch_sizes,
                seconds=[timings[(*size, b)].seconds for b in batch_sizes],
                spread=[timings[(*size, b)].spread for b in batch_sizes],
                memory=[timings[(*size, b)].memory for b in batch_sizes],
                loading_per_image=measured["loading"].get(size),
            )
            for size, batch_sizes in points.items()
        ],
        cost_model=costs.fit._asdict(),
        overhead_share=costs.overhead_share(*base, batch_size),
        memory_model=None if memory is None else memory.fit._asdict(),
        fit=dict(
            mean_relative_error=sum(errors) / len(errors),
            max_relative_error=max(errors),
        ),
        sampler=dict(cost_model=pasted),
        batch_sizes=table,
        prediction=_predictions(
            schedule,
            _rules(schedule, table, pasted),
            costs,
            memory,
            fits,
            measured["num_samples"],
        ),
    )


def _batch_sizes(
    memory_budget: Optional[float],
    schedule: GrowingSizes,
    costs: IterationCosts,
    memory: Optional[IterationCosts],
    fits: Dict[Size, Dict[int, bool]],
) -> List[int]:
    """Return the batch sizes that fill the memory, or that take equal time."""
    base, batch_size, sizes = schedule.base_size, schedule.batch_size, schedule.sizes
    if memory_budget is not None:
        if memory is None:
            raise cli.UserError("--memory-budget: this device counts no memory")
        with cli.setting_up("--memory-budget"):
            table = fill_batch_sizes(memory, memory_budget * GB, sizes)
    else:
        if not fits[base].get(batch_size, True):
            raise cli.UserError(
                f"{batch_size} images of {size_text(base)}, the base batch, do not fit "
                "into the memory of this device: lower train_dataloader.batch_size or "
                "--batch-size"
            )
        table = level_batch_sizes(costs, batch_size, base, sizes)
    with cli.setting_up("batch_sizes (--measure names those to measure)"):
        return fitting_batch_sizes(table, sizes, fits)


def _rules(
    schedule: GrowingSizes, table: List[int], pasted: Optional[Dict[str, float]]
) -> Dict[str, List[int]]:
    """Return the batch sizes of each rule, by its name."""
    base, batch_size, sizes = schedule.base_size, schedule.batch_size, schedule.sizes
    rules = {
        "pixel_budget": [pixel_budget_batch_size(batch_size, base, s) for s in sizes],
        "batch_sizes": table,
    }
    model = parse_cost_model(pasted)
    if model is not None:
        rules["cost_model"] = [
            cost_model_batch_size(batch_size, base, size, model) for size in sizes
        ]
    if list(schedule.batch_sizes) not in rules.values():
        rules["config"] = list(schedule.batch_sizes)
    return rules


def _predictions(
    schedule: GrowingSizes,
    rules: Dict[str, List[int]],
    costs: IterationCosts,
    memory: Optional[IterationCosts],
    fits: Dict[Size, Dict[int, bool]],
    num_samples: int,
) -> Dict[str, Any]:
    """Return what an epoch costs at the base size and with each rule."""

    def predict(drawn: Sequence[Size], images: Sequence[int]) -> Dict[str, Any]:
        weights = schedule.weights if len(drawn) == len(schedule.sizes) else [1.0]
        epoch = epoch_time(costs, drawn, images, weights, num_samples)
        peak = None
        if memory is not None:
            peak = max(memory.at(*size, b) for size, b in zip(drawn, images))
        too_large = [
            f"{b} images of {size_text(size)}"
            for size, b in zip(drawn, images)
            if exceeds_memory(b, fits[size])
        ]
        return dict(
            batch_sizes=list(images),
            iterations=epoch.iterations,
            seconds=epoch.seconds,
            slowest_iteration=epoch.slowest,
            peak_memory=peak,
            out_of_memory=too_large,
        )

    prediction: Dict[str, Any] = dict(num_samples=num_samples)
    prediction["fixed_size"] = predict([schedule.base_size], [schedule.batch_size])
    for name, images in rules.items():
        prediction[name] = predict(schedule.sizes, images)
    prediction["saving"] = (
        1 - prediction["batch_sizes"]["seconds"] / prediction["pixel_budget"]["seconds"]
    )
    return prediction


def paste_of(costs: IterationCosts) -> Optional[Dict[str, float]]:
    """Return ``cost_model`` for the sampler; ``None`` where pixels cost nothing."""
    if costs.fit.alpha <= 0:
        return None
    return dict(alpha=1.0, beta=float(f"{costs.fit.beta / costs.fit.alpha:.3g}"))


def show(document: Dict[str, Any], memory_budget: Optional[float]) -> None:
    """Print the document as text."""
    clock = {"wall": "wall-clock", "cpu": "CPU time"}[document["clock"]]
    print(f"device: {document['device']}; {clock}; batches: {document['batches']}\n")
    fit = CostFit(**document["cost_model"])
    counts_memory = document["memory_model"] is not None
    print(timing_table(document["sizes"], fit, counts_memory))
    print(
        f"\nseconds = {fit.overhead:.3g} + images * ({fit.alpha:.3g} * height"
        f" * width + {fit.beta:.3g}), off by "
        f"{document['fit']['mean_relative_error']:.0%} on average, "
        f"{document['fit']['max_relative_error']:.0%} at most\n"
    )
    base = "x".join(map(str, document["base_size"]))
    share = document["overhead_share"]
    if memory_budget is None and share > MOST_OVERHEAD:
        print(
            f"{share:.0%} of an iteration of {document['batch_size']} images of {base} "
            "does not depend on the images: the device mostly waits for Python.\n"
            "Batch sizes leveled by such times are noise: keep the pixel budget (no "
            "batch_sizes, no cost_model), or calibrate with a larger --batch-size.\n"
        )
        show_prediction(document["prediction"], counts_memory)
        return
    goal = f"as long as {document['batch_size']} images of {base}"
    if memory_budget is not None:
        goal = f"within {memory_budget:g} GB"
    pasted = document["sampler"]["cost_model"]
    print("to paste into train_dataloader.batch_sampler, one of:")
    if pasted is None:
        print("  (no cost_model: the time did not rise with the pixels)")
    elif document["prediction"]["cost_model"]["out_of_memory"]:
        too_large = ", ".join(document["prediction"]["cost_model"]["out_of_memory"])
        print(f"  (no cost_model: with it, {too_large} would not fit into memory)")
    else:
        print(f"  cost_model=dict(alpha={pasted['alpha']}, beta={pasted['beta']:.10g})")
    print(f"  batch_sizes={document['batch_sizes']}  # each {goal}\n")
    show_prediction(document["prediction"], counts_memory)


def timing_table(
    sizes: Sequence[Dict[str, Any]], fit: CostFit, counts_memory: bool
) -> str:
    """Return the measured and the fitted time of each size and batch size."""
    rows = [["size", "images", "seconds", "spread", "fitted", "error"]]
    for size in sizes:
        columns = (size[k] for k in ("batch_sizes", "seconds", "spread", "memory"))
        for images, seconds, spread, memory in zip(*columns):
            row = [f"{size['height']}x{size['width']}", str(images)]
            if seconds is None:
                row += ["out of memory", "", "", ""]
            else:
                fitted = fit.at(size["height"], size["width"], images)
                row += [
                    f"{seconds:.4f}",
                    "-" if spread is None else f"{spread:.0%}",
                    f"{fitted:.4f}",
                    f"{fitted / seconds - 1:+.0%}",
                ]
            rows.append(row + [f"{memory / GB:.2f}" if memory else ""])
    rows[0] += ["peak GB"]
    return plain_table(rows if counts_memory else [row[:-1] for row in rows])


def show_prediction(prediction: Dict[str, Any], counts_memory: bool) -> None:
    """Print what an epoch takes with each rule of batch sizes."""
    print(f"an epoch of {prediction['num_samples']} images on this device, predicted:")
    rows = [["", "iterations", "seconds", "slowest"]]
    rows[0] += (["peak GB"] if counts_memory else []) + ["images by size"]
    base = prediction["fixed_size"]["slowest_iteration"]
    for name, rule in prediction.items():
        if not isinstance(rule, dict):
            continue
        images = ", ".join(map(str, rule["batch_sizes"]))
        rows.append(
            [
                name.replace("_", " "),
                f"{rule['iterations']:.0f}",
                f"{rule['seconds']:.1f}",
                f"{rule['slowest_iteration'] / base:.2f}x",
                *([f"{rule['peak_memory'] / GB:.2f}"] if counts_memory else []),
                images + ("  (out of memory)" if rule["out_of_memory"] else ""),
            ]
        )
    print(plain_table(rows, text_columns=(0, len(rows[0]) - 1)))
    saving = prediction["saving"]
    word = "less" if saving >= 0 else "more"
    print(
        f"batch sizes: {abs(saving):.1%} {word} time an epoch than by the pixel budget"
    )


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
        document = evaluate(
            args, schedule, points, measure(config, args, schedule, points)
        )
        emit(document)
    if not args.json:
        show(document, args.memory_budget)
