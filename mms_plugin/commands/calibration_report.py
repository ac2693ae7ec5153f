"""Choose batch sizes from measured iterations: the document and its text."""

from __future__ import annotations

from typing import Any, Dict, List, Optional, Sequence, Tuple

from .. import cli
from ..analysis import (
    IterationCosts,
    Measurement,
    Timing,
    epoch_time,
    exceeds_memory,
    fill_batch_sizes,
    fitting_batch_sizes,
    level_batch_sizes,
    relative_errors,
)
from ..analysis.cost_fit import CostFit
from ..multi_scale import (
    GrowingSizes,
    Size,
    cost_model_batch_size,
    parse_cost_model,
    pixel_budget_batch_size,
)
from ..multi_scale.sizes import size_text
from ..utils.tables import plain_table

GB = 10**9
MOST_OVERHEAD = 0.5
"""Part of an iteration that may be overhead for batch sizes to be leveled by time."""


def evaluate(
    schedule: GrowingSizes,
    points: Dict[Size, List[int]],
    measured: Dict[str, Any],
    memory_budget: Optional[float],
) -> Dict[str, Any]:
    """Return the document that ``--json`` prints.

    Args:
        schedule: The sizes and their batch sizes.
        points: The measured batch sizes by size.
        measured: The timings and what they were made with, see ``measure``.
        memory_budget: GB to fill; ``None`` for batches that take equal time.

    Raises:
        UserError: If the batch sizes do not follow from these measurements.
    """
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
    table = _batch_sizes(memory_budget, schedule, costs, memory, fits)
    cost_model = sampler_cost_model(costs)
    errors = relative_errors(costs.fit, times)
    return dict(
        device=measured["device"],
        clock=measured["clock"],
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
        sampler=dict(cost_model=cost_model),
        batch_sizes=table,
        prediction=_predictions(
            schedule,
            _rules(schedule, table, cost_model),
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
    schedule: GrowingSizes, table: List[int], cost_model: Optional[Dict[str, float]]
) -> Dict[str, List[int]]:
    """Return the batch sizes of each rule, by its name."""
    base, batch_size, sizes = schedule.base_size, schedule.batch_size, schedule.sizes
    rules = {
        "pixel_budget": [pixel_budget_batch_size(batch_size, base, s) for s in sizes],
        "batch_sizes": table,
    }
    model = parse_cost_model(cost_model)
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


def sampler_cost_model(costs: IterationCosts) -> Optional[Dict[str, float]]:
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
    cost_model = document["sampler"]["cost_model"]
    print("to paste into train_dataloader.batch_sampler, one of:")
    if cost_model is None:
        print("  (no cost_model: the time did not rise with the pixels)")
    elif document["prediction"]["cost_model"]["out_of_memory"]:
        too_large = ", ".join(document["prediction"]["cost_model"]["out_of_memory"])
        print(f"  (no cost_model: with it, {too_large} would not fit into memory)")
    else:
        alpha, beta = cost_model["alpha"], cost_model["beta"]
        print(f"  cost_model=dict(alpha={alpha}, beta={beta:.10g})")
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
